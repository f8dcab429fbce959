//! The shape of the emulated machine and QEMU's command line for it.

use std::path::{Path, PathBuf};

/// QEMU's key for its own commands: Ctrl-] (Ctrl-A, its default, is Xen's console switch).
const ESCAPE: &str = "0x1d";

/// A machine to boot a medium on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Machine {
    /// Processors.
    pub(crate) cpus: u32,
    /// Memory in MiB.
    pub(crate) memory: u32,
    /// QEMU's processor model.
    pub(crate) model: String,
    /// UEFI firmware instead of the BIOS.
    pub(crate) uefi: bool,
    /// The mode of the screen that GRUB is to set, in its words.
    pub(crate) graphics: String,
    /// One instruction is one nanosecond of guest time (one processor, repeatable counts).
    pub(crate) icount: bool,
    /// The lab's serial port is the second; the first goes nowhere.
    pub(crate) second_port: bool,
    /// A gdb stub on this unix socket.
    pub(crate) gdb: Option<PathBuf>,
    /// The processors wait for gdb or QMP to start them.
    pub(crate) frozen: bool,
    /// Its memory is a file that the lab can read.
    pub(crate) inspected: bool,
    /// A second QMP socket, for the user (the lab has its own).
    pub(crate) qmp: Option<PathBuf>,
    /// More QEMU arguments: disks, networks.
    pub(crate) more: Vec<String>,
}

impl Default for Machine {
    fn default() -> Machine {
        Machine {
            cpus: 1,
            memory: 1024,
            model: "EPYC-Milan".into(),
            uefi: false,
            graphics: String::new(),
            icount: false,
            second_port: false,
            gdb: None,
            frozen: false,
            inspected: false,
            qmp: None,
            more: Vec::new(),
        }
    }
}

/// Who owns the first serial port.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Serial {
    /// The lab: QEMU's standard input and output are pipes.
    Lab,
    /// The user's terminal, shared with QEMU's monitor.
    Terminal,
}

impl Machine {
    /// QEMU's arguments to boot `iso`, logging the serial port to `log`, with the lab's QMP on `control`.
    pub(crate) fn arguments(&self, iso: &Path, log: &Path, control: &Path, serial: Serial) -> Vec<String> {
        let mut words: Vec<String> = Vec::new();
        let mut add = |text: &str| words.extend(text.split(' ').map(str::to_string));
        add("-M q35 -nodefaults -no-user-config -display none -no-reboot");
        add(if self.icount {
            "-accel tcg,thread=single -icount shift=0,sleep=off"
        } else {
            "-accel tcg,thread=multi"
        });
        add(&format!("-cpu {} -smp {} -m {}", self.model, self.cpus, self.memory));
        if self.inspected {
            add(&format!("-object memory-backend-memfd,id=ram,size={}M,share=on", self.memory));
            add("-machine memory-backend=ram");
        }
        add("-device isa-debug-exit,iobase=0xf4,iosize=0x04");
        add(if self.second_port { "-serial null -serial chardev:serial" } else { "-serial chardev:serial" });
        if serial == Serial::Terminal {
            add(&format!("-mon chardev=serial -echr {ESCAPE}"));
        }
        if self.frozen {
            add("-S");
        }
        let mux = if serial == Serial::Terminal { "on" } else { "off" };
        words.push("-chardev".into());
        words.push(format!("stdio,id=serial,signal=off,mux={mux},logfile={},logappend=off", comma(log)));
        words.extend(["-cdrom".into(), iso.display().to_string()]);
        words.extend(["-qmp".into(), format!("unix:{},server=on,wait=off", comma(control))]);
        if let Some(socket) = &self.qmp {
            words.extend(["-qmp".into(), format!("unix:{},server=on,wait=off", comma(socket))]);
        }
        if let Some(socket) = &self.gdb {
            words.extend(["-gdb".into(), format!("unix:{},server=on,wait=off", comma(socket))]);
        }
        if self.uefi {
            words.extend([
                "-drive".into(),
                "if=pflash,format=raw,readonly=on,file=/usr/share/OVMF/OVMF_CODE_4M.fd".into(),
                "-drive".into(),
                format!("if=pflash,format=raw,file={}", comma(&variables(iso))),
            ]);
        }
        words.extend(self.more.iter().cloned());
        words
    }
}

/// The UEFI's memory for its variables, beside the medium.
fn variables(iso: &Path) -> PathBuf {
    iso.with_file_name("variables.fd")
}

/// Makes that memory, empty.
pub(crate) fn make_variables(iso: &Path) -> std::io::Result<()> {
    let empty = std::fs::read("/usr/share/OVMF/OVMF_VARS_4M.fd")?;
    std::fs::write(variables(iso), empty)
}

/// A path within a comma-separated QEMU option.
fn comma(path: &Path) -> String {
    path.display().to_string().replace(',', ",,")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(machine: &Machine, serial: Serial) -> String {
        machine.arguments(Path::new("/i,s/o"), Path::new("/l,g"), Path::new("/q"), serial).join(" ")
    }

    #[test]
    fn the_default_machine() {
        let text = line(&Machine::default(), Serial::Lab);
        assert!(text.contains("-accel tcg,thread=multi -cpu EPYC-Milan -smp 1 -m 1024"));
        assert!(text.contains("mux=off,logfile=/l,,g") && text.contains("-cdrom /i,s/o"));
        let second = line(&Machine { second_port: true, ..Machine::default() }, Serial::Lab);
        assert!(second.contains("-serial null -serial chardev:serial") && !text.contains("-serial null"));
        assert!(!text.contains("-mon") && !text.contains("-gdb") && !text.contains("-icount"));
    }

    #[test]
    fn options_show() {
        let machine =
            Machine { icount: true, uefi: true, gdb: Some("/g".into()), frozen: true, ..Machine::default() };
        let text = line(&machine, Serial::Terminal);
        assert!(text.contains("thread=single -icount shift=0,sleep=off"));
        assert!(text.contains("-mon chardev=serial -echr 0x1d") && text.contains(" -S "));
        assert!(text.contains("-gdb unix:/g,server=on,wait=off") && text.contains("OVMF_CODE_4M"));
    }
}
