//! References that records hold: root tables, descriptor tables, frames shared with guests.

use crate::grants::{self, GrantTable, Mapping};
use crate::machine::Machine;
use crate::memory::FRAME;

/// Who holds what.
#[derive(Debug, Default)]
pub(crate) struct Held {
    /// Root tables with the slot of the vCPU that uses them: a typed reference each.
    pub(crate) roots: Vec<(u64, usize)>,
    /// Those of them that kernels use.
    pub(crate) kernel_roots: Vec<u64>,
    /// Frames of descriptor tables: a typed reference each.
    pub(crate) descriptors: Vec<u64>,
    /// Frames held writable and by a general reference: event arrays, control blocks, vcpu_infos, end-of-interrupt pages.
    pub(crate) pages: Vec<u64>,
    /// Frames that the hypervisor shares with a domain: held writable, on no page list.
    pub(crate) shared: Vec<u64>,
    /// By domain slot, the grant tables.
    pub(crate) grant_tables: Vec<GrantTable>,
    /// Mappings of grants: a reference each, to read or to write.
    pub(crate) granted: Vec<Mapping>,
    /// By domain slot: whether it is in use, and privileged.
    pub(crate) domains: Vec<(bool, bool)>,
}

impl Held {
    pub(crate) fn read(machine: &Machine<'_>) -> Result<Held, String> {
        let mut held = Held::default();
        held.contexts(machine)?;
        held.domains(machine)?;
        held.pages(machine)?;
        Ok(held)
    }

    fn contexts(&mut self, machine: &Machine<'_>) -> Result<(), String> {
        let contexts = machine.records("pv_cpu::Context")?;
        let roots = [contexts.column("root_kernel", 8)?, contexts.column("root_user", 8)?];
        let tables = [contexts.column("gdt", 8)?, contexts.column("ldt", 8)?];
        for vcpu in 0..contexts.count {
            let named = roots.iter().map(|root| root.at(vcpu, 0)).filter(|mfn| *mfn != 0);
            self.kernel_roots.push(roots[0].at(vcpu, 0));
            self.roots.extend(named.map(|mfn| (mfn, vcpu)));
            self.descriptors.extend(tables.iter().flat_map(|t| t.all(vcpu)).filter(|mfn| *mfn != 0));
        }
        Ok(())
    }

    fn domains(&mut self, machine: &Machine<'_>) -> Result<(), String> {
        let domains = machine.records("domains::Domain")?;
        let (life, privileged) = (domains.column("life", 1)?, domains.column("privileged", 1)?);
        let shared_info = domains.column("shared_info", 8)?;
        for slot in 0..domains.count {
            self.domains.push((life.at(slot, 0) != 0, privileged.at(slot, 0) != 0));
            self.shared.extend(Some(shared_info.at(slot, 0)).filter(|mfn| *mfn != 0));
        }
        self.grant_tables = grants::tables(machine)?;
        self.granted = grants::mappings(machine)?;
        self.shared
            .extend(self.grant_tables.iter().flat_map(|table| table.frames.iter().chain(&table.status)));
        Ok(())
    }

    fn pages(&mut self, machine: &Machine<'_>) -> Result<(), String> {
        let domains = machine.records("events::DomainEvents")?;
        let array = domains.column("array", 8)?;
        for slot in 0..domains.count {
            self.pages.extend(array.all(slot).filter(|mfn| *mfn != 0));
        }
        let vcpus = machine.records("events::VcpuEvents")?;
        let (info, control) = (vcpus.column("info", 8)?, vcpus.column("control", 8)?);
        let registered = vcpus.column("registered", 1)?;
        for vcpu in 0..vcpus.count {
            let info = if registered.at(vcpu, 0) != 0 { info.at(vcpu, 0) } else { 0 };
            self.pages.extend([info, control.at(vcpu, 0)].iter().filter(|at| **at != 0).map(|at| at / FRAME));
        }
        let irqs = machine.records("irqs::DomainIrqs")?;
        let page = irqs.column("eoi_page", 8)?;
        self.pages.extend((0..irqs.count).map(|slot| page.at(slot, 0) / FRAME).filter(|mfn| *mfn != 0));
        Ok(())
    }
}
