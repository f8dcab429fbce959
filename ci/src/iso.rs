//! Boot media: a GRUB image that starts a hypervisor with its Dom0, or Linux alone.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};

use crate::command::output;

/// What GRUB is to load.
#[derive(Debug, Clone)]
pub(crate) struct BootEntry {
    /// The hypervisor and its options; none for bare Linux.
    pub(crate) hypervisor: Option<(PathBuf, String)>,
    /// The kernel (Dom0's, under a hypervisor) and its command line.
    pub(crate) kernel: Option<(PathBuf, String)>,
    /// The kernel's initramfs.
    pub(crate) initrd: Option<PathBuf>,
    /// The mode of the screen that the hypervisor gets, in GRUB's words; GRUB's choice if empty.
    pub(crate) graphics: String,
}

impl BootEntry {
    /// GRUB's configuration for it: no menu, no waiting.
    fn configuration(&self) -> String {
        let mut head = "set timeout=0\nset default=0\nserial --unit=0 --speed=115200\n\
                    terminal_input serial console\nterminal_output serial console\n\
                    if [ $grub_platform = efi ]; then insmod all_video; fi\n"
            .to_string();
        if !self.graphics.is_empty() {
            head += "insmod all_video\n";
        }
        head += "menuentry lab {\n";
        let (load_kernel, load_initrd) = match &self.hypervisor {
            Some(_) => ("module2", "module2 --nounzip"),
            None => ("linux", "initrd"),
        };
        let mut body = String::new();
        if let Some((_, options)) = &self.hypervisor {
            body += &format!("  multiboot2 /boot/hypervisor {options}\n");
            if !self.graphics.is_empty() {
                // That command sets it too, to what the image's header asks for.
                body += &format!("  set gfxpayload={}\n", self.graphics);
            }
        }
        if let Some((_, command)) = &self.kernel {
            body += &format!("  {load_kernel} /boot/vmlinuz {command}\n");
        }
        if self.initrd.is_some() {
            body += &format!("  {load_initrd} /boot/initrd\n");
        }
        format!("{head}{body}}}\n")
    }

    /// Writes the medium (BIOS and UEFI) with `folder` as the place to lay it out.
    pub(crate) fn write(&self, folder: &Path) -> Result<PathBuf> {
        let tree = folder.join("tree");
        let _ = fs::remove_dir_all(&tree);
        fs::create_dir_all(tree.join("boot/grub"))?;
        fs::write(tree.join("boot/grub/grub.cfg"), self.configuration())?;
        if let Some((image, _)) = &self.hypervisor {
            place(image, &tree.join("boot/hypervisor"))?;
        }
        if let Some((kernel, _)) = &self.kernel {
            place(kernel, &tree.join("boot/vmlinuz"))?;
        }
        if let Some(initrd) = &self.initrd {
            place(initrd, &tree.join("boot/initrd"))?;
        }
        let iso = folder.join("boot.iso");
        output(Command::new("grub-mkrescue").arg("-o").arg(&iso).arg(&tree))?;
        Ok(iso)
    }
}

/// Puts a file into the tree, linked where the file system allows it.
fn place(from: &Path, to: &Path) -> Result<()> {
    if fs::hard_link(from, to).is_err() {
        fs::copy(from, to).with_context(|| format!("copying {}", from.display()))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(hypervisor: Option<(PathBuf, String)>) -> BootEntry {
        let kernel = Some(("k".into(), "console=hvc0 x".into()));
        BootEntry { hypervisor, kernel, initrd: Some("i".into()), graphics: String::new() }
    }

    #[test]
    fn a_hypervisor_gets_its_modules_unpacked_by_itself() {
        let text = entry(Some(("r".into(), "com1=115200,8n1".into()))).configuration();
        assert!(text.contains("multiboot2 /boot/hypervisor com1=115200,8n1\n"));
        assert!(text.contains("module2 /boot/vmlinuz console=hvc0 x\n"));
        assert!(text.contains("module2 --nounzip /boot/initrd\n"));
    }

    #[test]
    fn modules_can_be_left_out() {
        let hypervisor = Some(("r".into(), "x".into()));
        let text =
            BootEntry { hypervisor, kernel: None, initrd: None, graphics: "800x600".into() }.configuration();
        assert!(text.contains("multiboot2 /boot/hypervisor x\n") && !text.contains("module2"));
        assert!(text.contains("insmod all_video\n") && text.contains("set gfxpayload=800x600\n"));
    }

    #[test]
    fn bare_linux_is_booted_by_grub_itself() {
        let text = entry(None).configuration();
        assert!(text.contains("linux /boot/vmlinuz console=hvc0 x\n") && !text.contains("multiboot2"));
    }
}
