//! I/O APICs (Intel 82093AA data sheet).
#![expect(unsafe_code, reason = "device registers")]

use crate::layout;

/// A redirection table entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Route(pub u64);

/// How a route's interrupt is delivered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Delivery {
    /// As the vector.
    Fixed,
    /// As NMI.
    Nmi,
    /// As an 8259 interrupt.
    External,
}

impl Route {
    /// No interrupt.
    pub const MASKED: Self = Self(1 << 16);

    /// `vector` to the CPU with APIC identifier `target` (physical mode, 8 bits), not masked.
    pub const fn new(vector: u8, delivery: Delivery, target: u8, active_low: bool, level: bool) -> Self {
        let mode = match delivery {
            Delivery::Fixed => 0,
            Delivery::Nmi => 4,
            Delivery::External => 7,
        };
        Self(
            vector as u64
                | mode << 8
                | (active_low as u64) << 13
                | (level as u64) << 15
                | (target as u64) << 56,
        )
    }

    /// The same, masked or not.
    pub const fn masked(self, masked: bool) -> Self {
        Self(self.0 & !Self::MASKED.0 | if masked { Self::MASKED.0 } else { 0 })
    }

    /// True if no interrupt comes of it.
    pub const fn is_masked(self) -> bool {
        self.0 & Self::MASKED.0 != 0
    }

    /// A level interrupt was sent and its end not yet received.
    pub const fn remote_irr(self) -> bool {
        self.0 & (1 << 14) != 0
    }

    /// The vector.
    pub const fn vector(self) -> u8 {
        self.0 as u8
    }
}

const VERSION: u8 = 1;
const FIRST_ROUTE: u8 = 0x10;

/// One I/O APIC. Its registers are reached by an index, so callers serialise the use of each.
#[derive(Clone, Copy, Debug)]
pub struct IoApic {
    registers: usize,
}

impl IoApic {
    /// The I/O APIC number `index` of the machine.
    ///
    /// # Safety
    /// [`layout::io_apic`]`(index)` maps its registers, uncached.
    pub const unsafe fn new(index: usize) -> Self {
        Self { registers: layout::io_apic(index) as usize }
    }

    /// Pins it has.
    pub fn pins(self) -> u32 {
        ((self.read(VERSION) >> 16) & 0xff) + 1
    }

    /// The register `index`, as a guest's `PHYSDEVOP_apic_read` sees it.
    pub fn read(self, index: u8) -> u32 {
        self.select(index);
        // SAFETY: `new` promised the mapping.
        unsafe { self.at(0x10).read_volatile() }
    }

    /// Writes the register `index`.
    pub fn write(self, index: u8, value: u32) {
        self.select(index);
        // SAFETY: `new` promised the mapping; what a route may do is the caller's policy.
        unsafe { self.at(0x10).write_volatile(value) };
    }

    /// The route of `pin`.
    pub fn route(self, pin: u8) -> Route {
        let [low, high] = registers(pin).map(|register| u64::from(self.read(register)));
        Route(high << 32 | low)
    }

    /// Sets the route of `pin`; masked first, so that no half of it is ever used.
    pub fn set_route(self, pin: u8, route: Route) {
        let [low, high] = registers(pin);
        self.write(low, Route::MASKED.0 as u32);
        self.write(high, (route.0 >> 32) as u32);
        self.write(low, route.0 as u32);
    }

    /// Masks or unmasks `pin`.
    pub fn set_masked(self, pin: u8, masked: bool) {
        let [low, _] = registers(pin);
        let route = Route(u64::from(self.read(low))).masked(masked);
        self.write(low, route.0 as u32);
    }

    /// Masks every pin.
    pub fn mask_all(self) {
        for pin in 0..self.pins() {
            self.set_route(pin as u8, Route::MASKED);
        }
    }

    fn select(self, index: u8) {
        // SAFETY: `new` promised the mapping.
        unsafe { self.at(0).write_volatile(u32::from(index)) };
    }

    fn at(self, offset: usize) -> *mut u32 {
        core::ptr::with_exposed_provenance_mut(self.registers + offset)
    }
}

fn registers(pin: u8) -> [u8; 2] {
    let low = FIRST_ROUTE.wrapping_add(pin.wrapping_mul(2));
    [low, low.wrapping_add(1)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn routes_are_the_data_sheets() {
        let route = Route::new(0x31, Delivery::Fixed, 3, true, true);
        assert_eq!(route.0, 0x0300_0000_0000_a031);
        assert!(
            !route.is_masked() && route.masked(true).is_masked() && route.masked(true).masked(false) == route
        );
        assert_eq!(Route::new(0, Delivery::Nmi, 0, false, false).0, 0x400);
        assert_eq!(registers(23), [0x3e, 0x3f]);
    }
}
