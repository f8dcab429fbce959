//! The entries, and what is in them.

use super::list_entry;
use crate::version::{CHANGESET, COMPILED_BY, COMPILER, shown};
use arrayvec::{ArrayString, ArrayVec};
use core::fmt::Write;
use domain::{Parameter, State};
use xen_abi::hypfs::{XEN_HYPFS_TYPE_DIR, XEN_HYPFS_TYPE_STRING, XEN_HYPFS_TYPE_UINT};

/// Bytes of what is in an entry.
pub(super) const MOST_CONTENT: usize = 2048;
pub(super) type Content = ArrayVec<u8, MOST_CONTENT>;

/// An entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Node {
    /// A folder of these.
    Folder(&'static [(&'static str, Node)]),
    /// The folder of CPU pools.
    Pools,
    /// The folder of a pool, by its number.
    Pool,
    /// A text.
    Text(Text),
    /// A number.
    Number(Number),
}

/// A text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Text {
    Fixed(&'static str),
    Extraversion,
    Parameter(Parameter),
}

/// A number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Number {
    Major,
    Minor,
}

const ROOT: &[(&str, Node)] =
    &[("buildinfo", Node::Folder(BUILD)), ("cpupool", Node::Pools), ("params", Node::Folder(PARAMETERS))];
const BUILD: &[(&str, Node)] = &[
    ("changeset", Node::Text(Text::Fixed(CHANGESET))),
    ("compileinfo", Node::Folder(COMPILE)),
    ("version", Node::Folder(VERSION)),
];
const COMPILE: &[(&str, Node)] = &[
    ("compile_by", Node::Text(Text::Fixed(COMPILED_BY))),
    ("compile_date", Node::Text(Text::Fixed(""))),
    ("compile_domain", Node::Text(Text::Fixed(""))),
    ("compiler", Node::Text(Text::Fixed(COMPILER))),
];
const VERSION: &[(&str, Node)] = &[
    ("extra", Node::Text(Text::Extraversion)),
    ("major", Node::Number(Number::Major)),
    ("minor", Node::Number(Number::Minor)),
];
const PARAMETERS: &[(&str, Node)] = &[
    ("gnttab_max_frames", parameter(Parameter::GrantFrames)),
    ("gnttab_max_maptrack_frames", parameter(Parameter::MaptrackFrames)),
    ("guest_loglvl", parameter(Parameter::GuestLogLevels)),
    ("loglvl", parameter(Parameter::LogLevels)),
];
const fn parameter(which: Parameter) -> Node {
    Node::Text(Text::Parameter(which))
}

/// A pool: its CPUs are given to vCPUs one by one.
const POOL: &[(&str, Node)] = &[("sched-gran", Node::Text(Text::Fixed("cpu")))];

impl Node {
    /// The entry with a path.
    pub(super) fn find(state: &State, path: &[u8]) -> Option<Node> {
        let mut node = Node::Folder(ROOT);
        for name in path.split(|byte| *byte == b'/').filter(|name| !name.is_empty()) {
            node = match node {
                Node::Folder(children) => child(children, name)?,
                Node::Pool => child(POOL, name)?,
                Node::Pools => {
                    let id = core::str::from_utf8(name).ok()?.parse().ok()?;
                    state.sched.pool_by_id(id).map(|_| Node::Pool)?
                }
                Node::Text(_) | Node::Number(_) => return None,
            };
        }
        Some(node)
    }

    /// `XEN_HYPFS_TYPE_*`.
    pub(super) fn kind(self) -> u8 {
        let kind = match self {
            Node::Folder(_) | Node::Pools | Node::Pool => XEN_HYPFS_TYPE_DIR,
            Node::Text(_) => XEN_HYPFS_TYPE_STRING,
            Node::Number(_) => XEN_HYPFS_TYPE_UINT,
        };
        kind as u8
    }

    /// The parameter that it stands for.
    pub(super) fn parameter(self) -> Option<Parameter> {
        match self {
            Node::Text(Text::Parameter(which)) => Some(which),
            _ => None,
        }
    }

    /// Bytes that may be written to it; 0: none.
    pub(super) fn room(self) -> u32 {
        match self.parameter() {
            Some(Parameter::GrantFrames | Parameter::MaptrackFrames) => 12,
            Some(Parameter::LogLevels | Parameter::GuestLogLevels) => 16,
            None => 0,
        }
    }

    /// Appends what is in it.
    pub(super) fn fill(self, state: &State, to: &mut Content) {
        match self {
            Node::Folder(children) => list(state, children, to),
            Node::Pool => list(state, POOL, to),
            Node::Pools => list_pools(state, to),
            Node::Text(text) => {
                let mut line = ArrayString::<64>::new();
                // No text is longer.
                let _ = match text {
                    Text::Fixed(text) => line.try_push_str(text).map_err(|_| core::fmt::Error),
                    Text::Extraversion => write!(line, "{}", shown(state.host.release).1),
                    Text::Parameter(which) => write!(line, "{}", state.parameter(which)),
                };
                let _ = to.try_extend_from_slice(line.as_bytes());
                let _ = to.try_push(0);
            }
            Node::Number(number) => {
                let version = shown(state.host.release).0 as u32;
                let value = match number {
                    Number::Major => version >> 16,
                    Number::Minor => version & 0xffff,
                };
                let _ = to.try_extend_from_slice(&value.to_ne_bytes());
            }
        }
    }

    fn length(self, state: &State) -> usize {
        let mut content = Content::new();
        self.fill(state, &mut content);
        content.len()
    }
}

fn child(children: &[(&str, Node)], name: &[u8]) -> Option<Node> {
    children.iter().find(|(known, _)| known.as_bytes() == name).map(|(_, node)| *node)
}

fn list(state: &State, children: &[(&str, Node)], to: &mut Content) {
    for (place, (name, node)) in children.iter().enumerate() {
        list_entry(to, *node, name, node.length(state), place + 1 == children.len());
    }
}

fn list_pools(state: &State, to: &mut Content) {
    let mut next = state.sched.pool_from(0);
    while let Some((_, id)) = next {
        next = id.checked_add(1).and_then(|id| state.sched.pool_from(id));
        let mut name = ArrayString::<12>::new();
        // A number fits.
        let _ = write!(name, "{id}");
        list_entry(to, Node::Pool, &name, Node::Pool.length(state), next.is_none());
    }
}
