//! Values that the simulated processors share. Their threads take turns ([`baton`](crate::baton)), so no guard is
//! ever waited for; what is held over a step of the vault would be.

use std::sync::{RwLock, RwLockReadGuard, RwLockWriteGuard};

/// A value that whoever has the turn may look at and change.
#[derive(Debug, Default)]
pub struct Shared<T>(RwLock<T>);

impl<T> Shared<T> {
    /// A value.
    pub const fn new(value: T) -> Self {
        Self(RwLock::new(value))
    }

    /// To look at.
    pub fn borrow(&self) -> RwLockReadGuard<'_, T> {
        // A run that was cut poisons nothing: its changes are whole.
        self.0.read().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// To change.
    pub fn borrow_mut(&self) -> RwLockWriteGuard<'_, T> {
        self.0.write().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// A copy.
    pub fn get(&self) -> T
    where
        T: Copy,
    {
        *self.borrow()
    }

    /// Another value.
    pub fn set(&self, value: T) {
        *self.borrow_mut() = value;
    }
}
