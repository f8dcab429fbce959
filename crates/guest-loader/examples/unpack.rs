//! Unpacks the kernel in the file named by the first argument; measures the decoder when run
//! under a counter. A second argument names a file for the result.

fn main() {
    let path = std::env::args().nth(1).expect("usage: unpack VMLINUZ");
    let file = std::fs::read(path).expect("readable file");
    let guest_loader::bzimage::Kernel::Payload(payload) =
        guest_loader::bzimage::payload(&file).expect("kernel")
    else {
        panic!("the kernel is not compressed");
    };
    let size = guest_loader::decompress::decompressed_size_hint(payload).expect("size");
    let mut out = vec![0; size as usize];
    let len = guest_loader::decompress::decompress_into(payload, &mut out).expect("sound payload");
    if let Some(path) = std::env::args().nth(2) {
        std::fs::write(path, &out[..len]).expect("writable file");
    }
    println!("{len} bytes of {size}, starting {:02x?}", &out[..4]);
}
