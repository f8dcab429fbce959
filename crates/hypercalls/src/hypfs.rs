//! `hypfs_op`: the hypervisor's file system, by which tools read what it was built from, its pools and its parameters, and change
//! these.
//!
//! Nothing is kept of it but parameters: every call makes the entries that it needs anew, from what they stand for.

mod tree;

use crate::call::{Call, CallResult, Outcome, fault};
use command_line::LogLevels;
use domain::{Parameter, Value};
use guest_memory::GuestMemory;
use ids::Gva;
use tree::{Content, MOST_CONTENT, Node};
use vault::{Apply, Effect, kind};
use xen_abi::Errno;
use xen_abi::hypercall::HYPFS_OP;
use xen_abi::hypfs::{
    HypfsDirentry, XEN_HYPFS_ENC_PLAIN, XEN_HYPFS_MAX_PATHLEN, XEN_HYPFS_OP_GET_VERSION, XEN_HYPFS_OP_READ,
    XEN_HYPFS_OP_WRITE_CONTENTS, XEN_HYPFS_VERSION,
};
use zerocopy::IntoBytes;

/// Bytes that are written at once, their end included.
const MOST_WRITTEN: usize = 128;
/// A CONSOLE effect with this `a` has the log follow its parameters.
pub const LEVELS: u64 = 2;

/// Bytes of a path, its end included.
const MAX_PATH: usize = XEN_HYPFS_MAX_PATHLEN as usize;

/// The hypercall: operation, path, its bytes, buffer, its bytes.
pub(crate) fn hypfs_op<M: GuestMemory + 'static, A: Apply>(call: &mut Call<'_, M, A>) -> CallResult {
    call.privileged()?;
    let [command, at, path_bytes, buffer, bytes] = call.args;
    if command as u32 == XEN_HYPFS_OP_GET_VERSION {
        let all_zero = [at, path_bytes, buffer, bytes] == [0; 4];
        return if all_zero { Ok(Outcome::Value(XEN_HYPFS_VERSION.into())) } else { Err(Errno::EINVAL) };
    }
    if path_bytes == 0 || path_bytes > MAX_PATH as u64 {
        return Err(Errno::EINVAL);
    }
    let mut path = [0; MAX_PATH];
    let path = &mut path[..path_bytes as usize];
    call.memory.copy_in(Gva(at), path).map_err(fault)?;
    let Some((0, path)) = path.split_last().map(|(last, rest)| (*last, rest)) else {
        return Err(Errno::EINVAL);
    };
    if path.first() != Some(&b'/') || path.contains(&0) {
        return Err(Errno::EINVAL);
    }
    let node = Node::find(call.state, path).ok_or(Errno::ENOENT)?;
    match command as u32 {
        XEN_HYPFS_OP_READ => read(call, node, buffer, bytes),
        XEN_HYPFS_OP_WRITE_CONTENTS => write(call, node, buffer, bytes),
        _ => Err(Errno::EOPNOTSUPP),
    }
}

/// What an entry is, and, if there is room, what is in it.
fn read<M: GuestMemory + 'static, A: Apply>(
    call: &Call<'_, M, A>,
    node: Node,
    buffer: u64,
    bytes: u64,
) -> CallResult {
    const HEAD: u64 = size_of::<HypfsDirentry>() as u64;
    if bytes < HEAD {
        return Err(Errno::EINVAL);
    }
    let mut content = Content::new();
    node.fill(call.state, &mut content);
    let head = head(node, content.len());
    call.memory.write(Gva(buffer), &head).map_err(fault)?;
    if bytes - HEAD < content.len() as u64 {
        return Err(Errno::ENOBUFS);
    }
    call.memory.copy_out(Gva(buffer.wrapping_add(HEAD)), &content).map_err(fault)?;
    Ok(Outcome::Value(0))
}

fn head(node: Node, length: usize) -> HypfsDirentry {
    HypfsDirentry {
        kind: node.kind(),
        encoding: XEN_HYPFS_ENC_PLAIN as u8,
        pad: 0,
        content_len: length as u32,
        max_write_len: node.room(),
    }
}

/// Changes a parameter; the rest is not for writing.
fn write<M: GuestMemory + 'static, A: Apply>(
    call: &mut Call<'_, M, A>,
    node: Node,
    buffer: u64,
    bytes: u64,
) -> CallResult {
    let which = node.parameter().ok_or(Errno::EACCES)?;
    if bytes > MOST_WRITTEN as u64 {
        return Err(Errno::ENOSPC);
    }
    let mut text = [0; MOST_WRITTEN];
    let text = &mut text[..bytes as usize];
    call.memory.copy_in(Gva(buffer), text).map_err(fault)?;
    let Some((0, text)) = text.split_last().map(|(last, rest)| (*last, rest)) else {
        return Err(Errno::EDOM);
    };
    if text.contains(&0) {
        return Err(Errno::EDOM);
    }
    let value = match which {
        Parameter::GrantFrames | Parameter::MaptrackFrames => Value::Number(number(text)?),
        Parameter::LogLevels | Parameter::GuestLogLevels => {
            Value::Levels(LogLevels::parse(text).map_err(|_| Errno::EINVAL)?)
        }
    };
    let too_many = value.is_above(which, grants::MAX_FRAMES);
    if too_many {
        // Tables have no more, whatever is asked for.
        call.notice(HYPFS_OP, XEN_HYPFS_OP_WRITE_CONTENTS.into());
    }
    let state = call.state;
    call.reply_after(|tx| {
        tx.lock(state.machine_lock);
        state.parameters.set(tx, which, value);
        tx.publish(Effect { kind: kind::CONSOLE, x: 0, a: LEVELS, b: 0 });
        Ok(())
    })
}

/// A number as the C library reads it: decimal, with `0x` hexadecimal, with `0` octal; nothing is 0.
fn number(text: &[u8]) -> Result<u32, Errno> {
    let text = core::str::from_utf8(text).map_err(|_| Errno::EINVAL)?;
    let (digits, radix) = match text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")) {
        Some(digits) => (digits, 16),
        None if text.starts_with('0') => (text, 8),
        None => (text, 10),
    };
    if !digits.chars().all(|digit| digit.is_digit(radix)) {
        return Err(Errno::EINVAL);
    }
    let value = if digits.is_empty() { Ok(0) } else { u32::from_str_radix(digits, radix) };
    value.ok().filter(|value| *value <= i32::MAX as u32).ok_or(Errno::ERANGE)
}

/// Appends an element of a folder's list: head, place of the next element, name. Said as Xen says it: names have room for
/// their end up to a multiple of four bytes.
fn list_entry(to: &mut Content, child: Node, name: &str, length: usize, last: bool) {
    const BEFORE_NAME: usize = size_of::<HypfsDirentry>() + 2;
    let size = BEFORE_NAME + (name.len() + 1).next_multiple_of(4);
    if to.remaining_capacity() < size {
        return;
    }
    let end = to.len() + size;
    // There is room.
    let _ = to.try_extend_from_slice(head(child, length).as_bytes());
    let _ = to.try_extend_from_slice(&if last { 0_u16 } else { size as u16 }.to_ne_bytes());
    let _ = to.try_extend_from_slice(name.as_bytes());
    while to.len() < end {
        to.push(0);
    }
}

const _: () = assert!(MOST_CONTENT <= 4096, "on the stack");
