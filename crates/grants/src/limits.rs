//! What a domain's table may become.

/// Limits of a domain (`max_grant_frames`, `max_maptrack_frames` and the version of `XEN_DOMCTL_createdomain`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Frames of its table, 1 to [`MAX_FRAMES`](crate::MAX_FRAMES).
    pub frames: u32,
    /// What it may map, in frames of [`Limits::TRACKS_A_FRAME`] mappings.
    pub maptrack_frames: u32,
    /// The highest format of entries, 1 or 2.
    pub version: u32,
}

impl Limits {
    /// Mappings that a frame of Xen's accounting holds: the unit of `max_maptrack_frames`.
    pub const TRACKS_A_FRAME: u32 = 256;
    /// Xen's, without options.
    pub const DEFAULT: Limits = Limits { frames: crate::MAX_FRAMES, maptrack_frames: 1024, version: 2 };

    /// Whether a domain may get these where `self` are the machine's: what Xen refuses with `-EINVAL`.
    pub fn allow(&self, wanted: Limits) -> bool {
        (1..=self.frames).contains(&wanted.frames)
            && wanted.maptrack_frames <= self.maptrack_frames
            && (1..=self.version).contains(&wanted.version)
    }
}
