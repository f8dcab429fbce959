//! Crashes operations at every durable step: each happens wholly or not at all, and no event is lost.

mod world;

use events::audit;
use std::collections::BTreeSet;
use world::{Answer, Op, World};

/// Every kind of operation, by both ABIs, between three domains.
fn script() -> Vec<Op> {
    use Op::*;
    let mut ops = vec![
        AllocUnbound(0, 1),
        BindInterdomain(1, 0, 1),
        BindVirq(1, 0, 1),
        BindVirq(1, 2, 0),
        BindIpi(1, 1),
        BindPirq(0, 9),
        SetVcpuInfo(1, 1),
        Send(0, 1),
        Mask(1, 1),
        Send(0, 1),
        Unmask(1, 1),
        Virq(1, 1, 0),
        Consume(1, 0),
        Consume(1, 1),
        Send(0, 1),
        InitControl(1, 0),
        InitControl(1, 1),
        ExpandArray(1),
        Consume(1, 0),
        Send(0, 1),
        Virq(1, 0, 2),
        SetPriority(1, 2, 0),
        Virq(1, 1, 0),
        Send(1, 4),
        Consume(1, 0),
        Consume(1, 1),
        BindVcpu(1, 1, 1),
        Mask(1, 1),
        Send(0, 1),
        Send(1, 4),
        Unmask(1, 1),
        Virq(1, 1, 0),
        Consume(1, 1),
        Send(1, 1),
        Consume(0, 0),
        Close(1, 1),
        AllocUnbound(0, 0),
        BindInterdomain(0, 0, 3),
        Send(0, 3),
        Close(0, 3),
        Close(0, 2),
        AllocUnbound(2, 1),
        BindInterdomain(1, 2, 1),
        Consume(0, 0),
    ];
    ops.extend([ResetStep(1); 14]);
    ops.extend([TeardownStep(2); 14]);
    ops.extend([Create(2), CreateVcpu(2, 0), AllocUnbound(2, 1)]);
    ops
}

fn delivered(answer: &Answer) -> BTreeSet<u32> {
    match answer {
        Answer::Consumed(ports) => ports.clone(),
        _ => BTreeSet::new(),
    }
}

#[test]
fn every_step_of_every_operation() {
    std::panic::set_hook(Box::new(|info| {
        if info.payload().downcast_ref::<world::Crash>().is_none() {
            eprintln!("{info}");
        }
    }));
    let ops = script();
    let mut reference = World::new();
    let mut snapshots = vec![reference.snapshot()];
    let mut answers = Vec::new();
    for op in &ops {
        answers.push(reference.run(*op));
        snapshots.push(reference.snapshot());
        assert_eq!(audit(&reference.region), Ok(()), "{op:?}");
    }
    let refused = answers.iter().filter(|answer| matches!(answer, Answer::Error(_))).count();
    assert_eq!(refused, 0, "{answers:?}");
    let mut crashes = 0;
    for (index, op) in ops.iter().enumerate() {
        for at in 1.. {
            // The second crash, in the recovery, at a step that wanders.
            let crashed = one_crash(&ops, &snapshots, &answers, index, at, 1 + at % 7);
            if !crashed {
                break;
            }
            crashes += 1;
            assert!(at < 500, "{op:?} has no end");
        }
    }
    assert!(crashes > 500, "{crashes} crashes only");
    assert_eq!(reference.dropped(), 6, "two references on two frames of domain 1, and its vcpu_info stays");
}

type Snapshot = Vec<Result<(events::Status, u32), events::Error>>;

fn one_crash(ops: &[Op], states: &[Snapshot], answers: &[Answer], index: usize, at: u64, again: u64) -> bool {
    let mut world = World::new();
    let mut crashed = false;
    let mut delivered_late: Vec<(Op, BTreeSet<u32>)> = Vec::new();
    for (i, op) in ops.iter().enumerate() {
        let answer = if i == index {
            let (happened, first) = world.run_crashing(*op, at, again);
            crashed = happened;
            let state = if first.is_some() { &states[i + 1] } else { &states[i] };
            assert_eq!(&world.snapshot(), state, "{op:?} crashed at {at}");
            first.unwrap_or_else(|| world.run(*op))
        } else {
            world.run(*op)
        };
        let missing: BTreeSet<u32> =
            delivered(&answers[i]).difference(&delivered(&answer)).copied().collect();
        delivered_late.push((*op, missing.clone()));
        assert!(missing.is_empty(), "{op:?} of {i}: {missing:?} lost by a crash of {:?} at {at}", ops[index]);
        let lost = matches!(answer, Answer::Value(u32::MAX));
        assert!(lost || matches!(answer, Answer::Consumed(_)) || answer == answers[i], "{op:?}: {answer:?}");
    }
    assert_eq!(world.snapshot(), states[ops.len()]);
    assert_eq!(world.dropped(), 6, "references dropped once");
    assert_eq!(audit(&world.region), Ok(()));
    crashed
}
