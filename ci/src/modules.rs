//! Kernel modules: which ones a list of names needs, in loading order.

use std::collections::{HashMap, HashSet};

use anyhow::{Result, bail};

/// The `modules.dep` and `modules.builtin` of one kernel.
#[derive(Debug)]
pub(crate) struct ModuleIndex {
    /// From a module's name to its path and the paths it depends on.
    loadable: HashMap<String, (String, Vec<String>)>,
    builtin: HashSet<String>,
}

/// The kernel takes `-` and `_` in module names for the same.
pub(crate) fn name_of(path: &str) -> String {
    let file = path.rsplit('/').next().unwrap_or(path);
    file.split(".ko").next().unwrap_or(file).replace('-', "_")
}

impl ModuleIndex {
    /// Reads the two index files' text.
    pub(crate) fn parse(dependencies: &str, builtin: &str) -> ModuleIndex {
        let mut loadable = HashMap::new();
        for line in dependencies.lines() {
            if let Some((path, needs)) = line.split_once(':') {
                let needs = needs.split_whitespace().map(str::to_string).collect();
                loadable.insert(name_of(path), (path.to_string(), needs));
            }
        }
        ModuleIndex { loadable, builtin: builtin.lines().map(name_of).collect() }
    }

    /// The paths to load for the named modules, each after all it depends on; built-in modules need none.
    pub(crate) fn load_order(&self, names: &[&str]) -> Result<Vec<String>> {
        let mut order = Vec::new();
        let mut seen = HashSet::new();
        for name in names {
            self.visit(&name_of(name), &mut seen, &mut order)?;
        }
        Ok(order)
    }

    fn visit(&self, name: &str, seen: &mut HashSet<String>, order: &mut Vec<String>) -> Result<()> {
        if self.builtin.contains(name) || !seen.insert(name.to_string()) {
            return Ok(());
        }
        let Some((path, needs)) = self.loadable.get(name) else {
            bail!("this kernel has no module {name}");
        };
        for need in needs {
            self.visit(&name_of(need), seen, order)?;
        }
        order.push(path.clone());
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DEP: &str = "kernel/fs/ext4/ext4.ko: kernel/fs/jbd2/jbd2.ko kernel/lib/crc16.ko\n\
        kernel/fs/jbd2/jbd2.ko:\nkernel/lib/crc16.ko:\nkernel/x/xen-privcmd.ko.xz: kernel/lib/crc16.ko\n";

    #[test]
    fn dependencies_come_first_and_once() {
        let index = ModuleIndex::parse(DEP, "kernel/b/built-in.ko\n");
        let order = index.load_order(&["ext4", "xen_privcmd", "built_in"]).unwrap();
        let names: Vec<String> = order.iter().map(|path| name_of(path)).collect();
        assert_eq!(names, ["jbd2", "crc16", "ext4", "xen_privcmd"]);
    }

    #[test]
    fn an_unknown_module_is_an_error() {
        let index = ModuleIndex::parse(DEP, "");
        assert!(index.load_order(&["nothing"]).is_err());
    }
}
