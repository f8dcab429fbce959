//! `console_io`.

use crate::fixture::{ARGUMENT, LIST, NOWHERE, OTHER, World};

const OP: u64 = 18;

#[test]
fn writes_in_pieces_and_reads_what_was_typed() {
    let mut world = World::new();
    let text: Vec<u8> = (0..2500).map(|i| b'a' + (i % 26) as u8).collect();
    let mut buffer = [0u8; 2500];
    buffer.copy_from_slice(&text);
    world.put(LIST, &buffer);
    world.budget = 2;
    assert_eq!(world.call(OP, &[0, 2500, LIST]), 0);
    assert_eq!(world.seen.borrow().console.as_bytes(), text);
    assert_eq!(world.call(OP, &[0, 0, LIST]), 0);
    assert_eq!(world.call(OP, &[1, 1 << 31, LIST]), -7);
    assert_eq!(world.call(OP, &[0, 10, NOWHERE]), -14);
    assert_eq!(world.call(OP, &[5, 10, LIST]), -38);

    assert_eq!(world.call(OP, &[1, 100, ARGUMENT]), 0);
    let input = world.state.console_input;
    assert_eq!(world.change(|tx| input.put(tx, b"ls -l\r")), 6);
    assert_eq!(world.call(OP, &[1, 4, ARGUMENT]), 4);
    assert_eq!(world.call(OP, &[1, 100, ARGUMENT + 4]), 2);
    assert_eq!(&world.get::<[u8; 6]>(ARGUMENT), b"ls -l\r");
    assert_eq!(world.call(OP, &[1, 100, ARGUMENT]), 0);
    for _ in 0..5 {
        world.change(|tx| input.put(tx, &[7; 60]));
    }
    assert_eq!(input.waiting(), 256, "what has no room is lost");

    world.caller = OTHER;
    assert_eq!(world.call(OP, &[0, 1, LIST]), -1);
    assert_eq!(world.call(OP, &[1, 1, LIST]), -1);
}
