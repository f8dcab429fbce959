//! A machine under load, with those who make it fail and look at it.

use std::thread;
use std::time::Duration;

use anyhow::Result;

use crate::inspect::Inspector;
use crate::qemu::Scene;
use crate::survive::agent::{Agent, Door};
use crate::survive::tail::Tail;

/// Wall time before the first failure: the load shows what code it runs.
const WARM: Duration = Duration::from_secs(5);

/// Such a machine.
pub(crate) struct Stage {
    /// Stops the machine and walks it.
    pub(crate) inspector: Inspector,
    /// Makes a CPU fail.
    pub(crate) agent: Agent,
    /// What the console says.
    pub(crate) tail: Tail,
}

impl Stage {
    /// The machine of `scene`, whose plugin came to `door`.
    pub(crate) fn set(scene: &Scene<'_>, door: &Door) -> Result<Stage> {
        let mut inspector = Inspector::new(scene.process, scene.control, scene.machine)?;
        let mut agent = door.agent()?;
        let (heads, leader) = inspector.places()?;
        agent.introduce(&heads[..scene.machine.cpus as usize], leader)?;
        let tail = Tail::open(scene.log)?;
        thread::sleep(WARM);
        Ok(Stage { inspector, agent, tail })
    }
}
