//! References that are taken back while others work.

use frames::{Frames, Got, Kind};
use ids::DomainSlot;
use vault::Tx;

#[expect(dead_code, reason = "the other tests use the rest")]
mod machine;
use machine::Machine;

const SLOT: DomainSlot = DomainSlot(3);

/// A page's only mapping goes while another CPU holds the page as a writable one, which is then undone: that mapping was
/// the last, though it was not the last reference when it went.
#[test]
fn a_mapping_that_goes_before_what_is_undone_is_not_forgotten() {
    let m = Machine::new(1);
    let mfn = m.allocate(0, SLOT, 0).expect("memory");
    let owner = m.frames.frame(mfn).expect("a frame").usage().owner();
    let map = |tx: &mut Tx<'static>| m.frames.get_typed(tx, mfn, owner, Kind::Writable);
    assert_eq!(m.journal(0).transaction(map), Ok(Got::Taken));
    let gone = m.frames.gone();
    m.frames.note_forgotten(gone);
    assert!(m.frames.are_unwritable());
    let refused: Result<(), ()> = m.journal(0).transaction(|tx| {
        assert_eq!(map(tx), Ok(Got::Taken));
        m.journal(1).change(|tx| tx.publish(Frames::put_typed(mfn)));
        Err(())
    });
    assert_eq!(refused, Err(()));
    assert_eq!(m.frames.frame(mfn).expect("a frame").usage().typed(), 0);
    assert!(!m.frames.are_unwritable(), "its translation may be in a TLB");
}

/// A page is given up and its last other reference is undone: nobody has it then, and it is free.
#[test]
fn a_page_whose_last_reference_is_undone_is_free() {
    let m = Machine::new(1);
    let mfn = m.allocate(0, SLOT, 0).expect("memory");
    let owner = m.frames.frame(mfn).expect("a frame").usage().owner();
    let free = m.free();
    let refused: Result<(), ()> = m.journal(0).transaction(|tx| {
        assert_eq!(m.frames.get_ref(tx, mfn, owner), Ok(()));
        assert_eq!(m.journal(1).transaction(|tx| m.frames.release(tx, mfn, owner)), Ok(()));
        Err(())
    });
    assert_eq!((refused, m.free()), (Err(()), free + 1));
    m.audit().expect("all in order");
}
