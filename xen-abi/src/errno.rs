//! Error numbers (`errno.h`).

use core::fmt;

/// An error number: a hypercall returns its negative.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Errno(i32);

macro_rules! errnos {
    ($($(#[$doc:meta])* $name:ident = $value:literal;)*) => {
        impl Errno {
            $($(#[$doc])* pub const $name: Self = Self($value);)*

            /// All named numbers with their names; of two names with one number the usual one is first.
            pub const ALL: &'static [(&'static str, Self)] = &[$((stringify!($name), Self::$name)),*];
        }
    };
}

errnos! {
    /// Not permitted.
    EPERM = 1;
    /// No such object.
    ENOENT = 2;
    /// No such domain or entry.
    ESRCH = 3;
    /// Interrupted; never returned to a guest.
    EINTR = 4;
    /// I/O error.
    EIO = 5;
    /// No such device or address.
    ENXIO = 6;
    /// Too much.
    E2BIG = 7;
    /// Not executable.
    ENOEXEC = 8;
    /// Bad handle.
    EBADF = 9;
    /// No child.
    ECHILD = 10;
    /// Try again.
    EAGAIN = 11;
    /// As `EAGAIN`.
    EWOULDBLOCK = 11;
    /// Out of memory.
    ENOMEM = 12;
    /// Access denied.
    EACCES = 13;
    /// Bad address.
    EFAULT = 14;
    /// Busy.
    EBUSY = 16;
    /// Exists already.
    EEXIST = 17;
    /// Crosses a boundary.
    EXDEV = 18;
    /// No such device.
    ENODEV = 19;
    /// No directory.
    ENOTDIR = 20;
    /// A directory.
    EISDIR = 21;
    /// Invalid argument.
    EINVAL = 22;
    /// Too many in all.
    ENFILE = 23;
    /// Too many.
    EMFILE = 24;
    /// No room.
    ENOSPC = 28;
    /// Read-only.
    EROFS = 30;
    /// Too many links.
    EMLINK = 31;
    /// Outside the domain of the function.
    EDOM = 33;
    /// Out of range.
    ERANGE = 34;
    /// Deadlock.
    EDEADLK = 35;
    /// As `EDEADLK`.
    EDEADLOCK = 35;
    /// Name too long.
    ENAMETOOLONG = 36;
    /// No lock left.
    ENOLCK = 37;
    /// No such function.
    ENOSYS = 38;
    /// Not empty.
    ENOTEMPTY = 39;
    /// No data.
    ENODATA = 61;
    /// Timer expired.
    ETIME = 62;
    /// Bad message.
    EBADMSG = 74;
    /// Value too large.
    EOVERFLOW = 75;
    /// Illegal sequence.
    EILSEQ = 84;
    /// Restart the call; never returned to a guest.
    ERESTART = 85;
    /// No socket.
    ENOTSOCK = 88;
    /// Message too long.
    EMSGSIZE = 90;
    /// Not supported.
    EOPNOTSUPP = 95;
    /// Address in use.
    EADDRINUSE = 98;
    /// Address not available.
    EADDRNOTAVAIL = 99;
    /// No buffer space.
    ENOBUFS = 105;
    /// Connected already.
    EISCONN = 106;
    /// Not connected.
    ENOTCONN = 107;
    /// Timed out.
    ETIMEDOUT = 110;
    /// Connection refused.
    ECONNREFUSED = 111;
}

impl Errno {
    /// The positive number.
    #[must_use]
    pub const fn number(self) -> i32 {
        self.0
    }

    /// What a hypercall leaves in RAX: the negative number.
    #[must_use]
    pub const fn to_result(self) -> i64 {
        -(self.0 as i64)
    }

    /// The error in a hypercall's result: `None` unless it lies in -4095..=-1.
    #[must_use]
    pub const fn from_result(result: i64) -> Option<Self> {
        if result >= -4095 && result <= -1 { Some(Self(-(result as i32))) } else { None }
    }

    /// The name, such as "EINVAL", if the number has one.
    #[must_use]
    pub fn name(self) -> Option<&'static str> {
        Self::ALL.iter().find(|(_, errno)| *errno == self).map(|(name, _)| *name)
    }
}

impl fmt::Display for Errno {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            Some(name) => f.write_str(name),
            None => write!(f, "errno {}", self.0),
        }
    }
}

impl fmt::Debug for Errno {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl core::error::Error for Errno {}
