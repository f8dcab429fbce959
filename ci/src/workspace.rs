//! Where things are: the checkout, the results, the cache.

use std::env;
use std::path::{Path, PathBuf};

/// The folders of one checkout.
#[derive(Debug, Clone)]
pub(crate) struct Workspace {
    root: PathBuf,
    cache: PathBuf,
}

impl Workspace {
    /// The checkout this tool was compiled in; the cache is `.build` there or what `REVENANT_CACHE` names.
    pub(crate) fn find() -> Workspace {
        let manifest = Path::new(env!("CARGO_MANIFEST_DIR"));
        let root = manifest.parent().unwrap_or(manifest).to_path_buf();
        let cache = env::var_os("REVENANT_CACHE").map_or_else(|| root.join(".build"), PathBuf::from);
        Workspace { root, cache }
    }

    /// The checkout.
    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    /// A path in the checkout.
    pub(crate) fn path(&self, relative: &str) -> PathBuf {
        self.root.join(relative)
    }

    /// A folder for what this checkout alone makes: logs, boot media, the image's target folder.
    pub(crate) fn build(&self, relative: &str) -> PathBuf {
        self.root.join(".build").join(relative)
    }

    /// A folder for what was downloaded and can be shared between checkouts.
    pub(crate) fn cache(&self, relative: &str) -> PathBuf {
        self.cache.join(relative)
    }
}
