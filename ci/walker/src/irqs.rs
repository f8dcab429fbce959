//! Physical interrupts: vectors, PIRQs and ports name each other.

use crate::Report;
use crate::machine::Machine;

/// Checks every record.
pub(crate) fn check(machine: &Machine<'_>, report: &mut Report) -> Result<(), String> {
    let irqs = machine.records("irqs::IrqRecord")?;
    let domains = machine.records("irqs::DomainIrqs")?;
    let tables = machine.records("irqs::PirqTable")?;
    let vectors = machine.records("irqs::Vectors")?;
    let (kind, vector) = (irqs.column("kind", 1)?, irqs.column("vector", 1)?);
    let (domain, pirq, port) = (irqs.column("domain", 4)?, irqs.column("pirq", 4)?, irqs.column("port", 4)?);
    let (table, owner) = (domains.column("table", 4)?, tables.column("owner", 4)?);
    let (named, of_vector) = (tables.column("irq", 4)?, vectors.column("irq", 4)?);
    for (number, irq) in of_vector.all(0).enumerate().filter(|(_, irq)| *irq != 0) {
        let named = irq as usize - 1;
        if vector.at(named, 0) != number as u64 || kind.at(named, 0) == 0 {
            report.wrong(format!("irqs: vector {number:#x} names irq {named}, which is not its own"));
        }
    }
    for irq in 0..irqs.count {
        let of = |column: &crate::machine::Column<'_>| column.at(irq, 0);
        let used = of(&kind) != 0;
        report.irqs += usize::from(used);
        let vector_right = of(&vector) == 0 || of_vector.at(0, of(&vector) as usize) == irq as u64 + 1;
        let mapped = match (of(&domain) as usize).checked_sub(1) {
            None => of(&pirq) == 0 && of(&port) == 0,
            Some(slot) => (table.at(slot, 0) as usize)
                .checked_sub(1)
                .is_some_and(|t| named.at(t, of(&pirq) as usize) == irq as u64 + 1),
        };
        if !vector_right || !mapped || used != (of(&vector) != 0) || of(&port) != 0 && !used {
            let fields = [&kind, &vector, &domain, &pirq, &port].map(of);
            report.wrong(format!("irqs: irq {irq}: kind, vector, domain, pirq, port = {fields:?}"));
        }
    }
    for number in 0..tables.count {
        let holder = (owner.at(number, 0) as usize).checked_sub(1);
        if holder.is_some_and(|slot| table.at(slot, 0) != number as u64 + 1) {
            report.wrong(format!("irqs: table {number} has an owner that has another"));
        }
        for (index, irq) in named.all(number).enumerate().filter(|(_, irq)| *irq != 0) {
            let back = irq as usize - 1;
            if holder.is_none()
                || domain.at(back, 0) != owner.at(number, 0)
                || pirq.at(back, 0) != index as u64
            {
                report.wrong(format!(
                    "irqs: PIRQ {index} of table {number} names irq {back}, which has another"
                ));
            }
        }
    }
    Ok(())
}
