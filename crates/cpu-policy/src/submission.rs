//! What the toolstack wants a domain's policy to be: read leaf by leaf and register by register over the present one,
//! then checked and brought into form.
//!
//! As on Xen, limits above the maximum are refused, features and sizes beyond it are silently dropped.

use crate::cpuid::{EXTENDED, Leaf, MAX_BASIC_LEAF, MAX_EXTENDED_LEAF, NO_SUBLEAF, Policy, Vendor};
use crate::features::{Feature, FeatureSet};
use crate::listing::{HYPERVISOR_LEAVES, SUBLEAVES};
use crate::system::{ARCH_CAPABILITIES, INFO_CPUID_FAULTING, PLATFORM_INFO};

/// Why a submission is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// There is no such leaf, subleaf or register (`ERANGE`).
    Unknown,
    /// It is beyond the maximum, or a reserved field is set (`EINVAL`).
    Invalid,
    /// The value is wider than the register (`EOVERFLOW`).
    TooWide,
}

/// A refusal: what is wrong where; fields that do not apply are all ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refused {
    /// What.
    pub why: Why,
    /// In which leaf.
    pub leaf: u32,
    /// In which subleaf.
    pub subleaf: u32,
    /// In which register.
    pub register: u32,
}

impl Refused {
    const fn leaf(why: Why, leaf: u32, subleaf: u32) -> Self {
        Self { why, leaf, subleaf, register: u32::MAX }
    }

    const fn register(why: Why, register: u32) -> Self {
        Self { why, leaf: u32::MAX, subleaf: u32::MAX, register }
    }
}

/// A submission in progress.
#[derive(Clone, Copy, Debug)]
pub struct Submission {
    policy: Policy,
    platform_info: u64,
    /// State components in XCR0, and supervisor's ones.
    states: [u64; 2],
}

/// The halves of a leaf's 64-bit value.
fn joined(low: u32, high: u32) -> u64 {
    u64::from(low) | u64::from(high) << 32
}

impl Submission {
    /// Begins with a domain's present policy.
    pub fn over(present: &Policy) -> Self {
        let states = [present.xcr0_mask(), 0];
        Self { policy: *present, platform_info: present.registers().platform_info, states }
    }

    /// Takes a leaf. Features go to the words, the rest to where it is kept; what no domain is told goes nowhere.
    ///
    /// # Errors
    /// There is no such leaf or subleaf.
    pub fn leaf(&mut self, leaf: u32, subleaf: u32, value: &Leaf) -> Result<(), Refused> {
        let exists = match SUBLEAVES.iter().find(|(number, _)| *number == leaf) {
            Some((_, room)) => subleaf < *room,
            None => {
                let known = HYPERVISOR_LEAVES.contains(&leaf)
                    || leaf <= MAX_BASIC_LEAF
                    || (EXTENDED..=MAX_EXTENDED_LEAF).contains(&leaf);
                known && subleaf == NO_SUBLEAF
            }
        };
        if !exists {
            return Err(Refused::leaf(Why::Unknown, leaf, subleaf));
        }
        let policy = &mut self.policy;
        // No maker: which features AMD's processors repeat is settled at the end.
        policy.features.take_leaf(leaf, subleaf, value, Vendor::Other);
        match (leaf, subleaf as usize) {
            (4, index) => policy.caches[index] = *value,
            (7, 0) => policy.max_feature_subleaf = value.eax,
            (7 | 0xb, _) => {}
            (0xd, 0) => self.states[0] = joined(value.eax, value.edx),
            (0xd, 1) => self.states[1] = joined(value.ecx, value.edx),
            (0xd, _) => {}
            (EXTENDED.., _) => policy.extended[(leaf - EXTENDED) as usize] = *value,
            _ => match HYPERVISOR_LEAVES.iter().position(|first| *first == leaf) {
                // As many as a byte counts.
                Some(which) => policy.hypervisor_limits[which] = value.eax & 0xff,
                None => policy.basic[leaf as usize] = *value,
            },
        }
        Ok(())
    }

    /// Takes a register.
    ///
    /// # Errors
    /// There is none of that number, a flag is set, or the value is too wide.
    pub fn register(&mut self, index: u32, flags: u32, value: u64) -> Result<(), Refused> {
        let refused = |why| Err(Refused::register(why, index));
        match index {
            _ if flags != 0 => return refused(Why::Invalid),
            PLATFORM_INFO if value >> 32 != 0 => return refused(Why::TooWide),
            PLATFORM_INFO => self.platform_info = value,
            ARCH_CAPABILITIES => self.policy.features.set_arch_capabilities(value),
            _ => return refused(Why::Unknown),
        }
        Ok(())
    }

    /// The policy that the domain gets; `max` is the most it can get.
    ///
    /// # Errors
    /// A limit or a register is beyond that.
    pub fn finish(mut self, max: &Policy) -> Result<Policy, Refused> {
        let policy = &mut self.policy;
        policy.drop_what_is_out_of_range();
        if self.states == [0, 0] {
            policy.features.0[Feature::XSAVEOPT.word()] = 0;
        }
        let refused = |leaf, subleaf| Err(Refused::leaf(Why::Invalid, leaf, subleaf));
        if policy.basic[0].eax > max.basic[0].eax {
            return refused(0, NO_SUBLEAF);
        }
        if policy.max_feature_subleaf > max.max_feature_subleaf {
            return refused(7, 0);
        }
        if policy.extended[0].eax > max.extended[0].eax {
            return refused(EXTENDED, NO_SUBLEAF);
        }
        if self.platform_info & !max.registers().platform_info != 0 {
            return Err(Refused::register(Why::Invalid, PLATFORM_INFO));
        }
        policy.cpuid_faulting = self.platform_info & INFO_CPUID_FAULTING != 0;
        policy.vendor = Vendor::of(&policy.basic[0]);
        policy.settle_features(&max.features);
        policy.settle_basic(max);
        policy.settle_extended(max);
        // Another maker's processors have fewer.
        policy.drop_what_is_out_of_range();
        policy.state_components = max.state_components;
        Ok(*policy)
    }
}

impl Policy {
    /// Leaves beyond the limits are not kept for a later submission with higher ones.
    fn drop_what_is_out_of_range(&mut self) {
        let words = &mut self.features.0;
        let (basic, extended) = (self.basic[0].eax, self.extended[0].eax & 0xffff);
        let mut clear = |condition: bool, which: &[usize]| {
            which.iter().filter(|_| condition).for_each(|word| words[*word] = 0);
        };
        clear(basic < 1, &[0, 1]);
        clear(basic < 7, &[5, 6, 9]);
        if basic < 7 {
            self.max_feature_subleaf = 0;
        }
        clear(self.max_feature_subleaf < 1, &[10, 12, 14, 15]);
        clear(self.max_feature_subleaf < 2, &[13]);
        clear(basic < 0xd, &[4]);
        clear(extended < 1, &[2, 3]);
        clear(extended < 7, &[7]);
        clear(extended < 8, &[8]);
        clear(extended < 0x21, &[11, 18]);
        let beyond = |leaves: &mut [Leaf], last: u32| {
            leaves.iter_mut().skip(last as usize + 1).for_each(|leaf| *leaf = Leaf::EMPTY);
        };
        beyond(&mut self.basic, basic.min(MAX_BASIC_LEAF));
        beyond(&mut self.extended, extended);
        if basic < 4 {
            self.caches.fill(Leaf::EMPTY);
        }
    }

    fn settle_features(&mut self, max: &FeatureSet) {
        let mut features = self.features.intersection(max);
        if self.basic[0].eax < 0xd {
            features.set(Feature::XSAVE, false);
        }
        self.features = features.with_requirements_met();
    }

    /// Leaves 0 to d: what describes the processor, without what no domain is told.
    fn settle_basic(&mut self, max: &Self) {
        let [zero, one, two] = [self.basic[0], self.basic[1], self.basic[2]];
        let line_size = max.basic[1].ebx & 0xff00;
        self.basic[1..].fill(Leaf::EMPTY);
        self.basic[0] = zero;
        self.basic[1] =
            Leaf { eax: one.eax & 0x0fff_0fff, ebx: one.ebx & 0x00ff_00ff | line_size, ..Leaf::EMPTY };
        if self.vendor == Vendor::Amd {
            self.caches.fill(Leaf::EMPTY);
        } else {
            self.basic[2] = Leaf { eax: two.eax & !0xff | 1, ..two };
            self.settle_caches();
        }
        if zero.eax < 2 {
            self.basic[2] = Leaf::EMPTY;
        }
    }

    /// The same of the extended ones.
    fn settle_extended(&mut self, max: &Self) {
        let amd = self.vendor == Vendor::Amd;
        let present = self.extended;
        let most = if amd { MAX_EXTENDED_LEAF - EXTENDED } else { 8 };
        let last = (present[0].eax & 0xffff).min(most);
        self.extended.fill(Leaf::EMPTY);
        for (number, leaf) in (0..=last).zip(present) {
            self.extended[number as usize] = match number {
                0 if amd => Leaf { eax: EXTENDED | last, ..self.basic[0] },
                0 => Leaf { eax: EXTENDED | last, ..Leaf::EMPTY },
                1 if amd => Leaf { eax: self.basic[1].eax, ebx: leaf.ebx & 0xff00_ffff, ..Leaf::EMPTY },
                2..=4 => leaf,
                5 | 6 | 0x1a if amd => leaf,
                6 => Leaf { ecx: leaf.ecx, ..Leaf::EMPTY },
                _ => Leaf::EMPTY,
            };
        }
        // Widths of addresses are told even where the leaf is beyond the limit by then.
        let widths = self.address_widths(present[8].eax & 0xff, max);
        let cores = if amd { present[8].ecx & 0x0003_f0ff } else { 0 };
        if last >= 8 {
            self.extended[8] = Leaf { eax: widths, ecx: cores, ..Leaf::EMPTY };
        }
    }

    /// Leaf 80000008 EAX: the physical width asked for, as far as there is one, and the linear one that paging has.
    fn address_widths(&self, asked: u32, max: &Self) -> u32 {
        let least = if self.has(Feature::PAE) { 36 } else { 32 };
        let physical = asked.min(max.extended[8].eax & 0xff).max(least);
        physical | if self.has(Feature::LM) { 48 } else { 32 } << 8
    }
}
