//! Model-specific registers of a PV guest.

use crate::System;
use crate::platform::{Base, Platform};
use cpu_policy::msr::{self, MsrContext, MsrRead, MsrWrite, Stored};
use cpu_policy::{Policy, Shown};
use ids::{VcpuId, VcpuSlot};
use pv_cpu::{Context, sync, synchronise};
use vault::{Effect, Tx, kind};
use xen_abi::arch::{SEGBASE_FS, SEGBASE_GS_KERNEL, SEGBASE_GS_USER};

const EFER: u32 = 0xc000_0080;
const MISC_ENABLE: u32 = 0x1a0;
const PRED_CMD: u32 = 0x49;
const PROTECTION_FAULT: usize = 13;

/// A write that is allowed, as what it changes.
#[derive(Debug, Clone, Copy)]
pub(crate) enum MsrChange {
    None,
    Base(u32, u64),
    TscAux(u32),
}

impl MsrChange {
    pub(crate) fn publish(self, tx: &mut Tx<'static>, context: &'static Context) {
        match self {
            Self::None => {}
            Self::Base(which, value) => {
                tx.publish(Effect { kind: kind::SEGMENT_BASE, x: which, a: 0, b: value });
            }
            Self::TscAux(value) => {
                tx.set(&context.tsc_aux, value);
                synchronise(tx, sync::CONTROL);
            }
        }
    }
}

impl<P: Platform> System<P> {
    /// What a vCPU's domain is shown of the processor.
    pub(crate) fn policy_of(&self, vcpu: VcpuSlot) -> Shown {
        let domain = self.state.domains.vcpu(vcpu).domain.get();
        self.state.policies.of(domain, self.state.domains.domain(domain).privileged.get())
    }

    fn msr_context<'a>(&self, vcpu: VcpuSlot, index: u32, policy: &'a Policy) -> MsrContext<'a> {
        let asked = |register| if index == register { self.platform.read_msr(register) } else { None };
        MsrContext {
            policy,
            hardware_domain: self.own_subject(vcpu).io,
            boot_vcpu: self.state.domains.vcpu(vcpu).id.get() == VcpuId(0),
            efer: asked(EFER).unwrap_or(0),
            misc_enable: asked(MISC_ENABLE),
        }
    }

    /// The value RDMSR gives; `None` for #GP.
    pub(crate) fn read_msr(&self, vcpu: VcpuSlot, context: &Context, index: u32) -> Option<u64> {
        if let Some(base) = msr::segment_base(index) {
            return self.stored(context, base);
        }
        match msr::read(index, &self.msr_context(vcpu, index, &self.policy_of(vcpu))) {
            MsrRead::Value(value) => Some(value),
            MsrRead::TimeStampCounter => Some(self.platform.tsc()),
            MsrRead::Hardware => self.platform.read_msr(index),
            MsrRead::Context(stored) => self.stored(context, stored),
            // Before the guest can handle #GP it is told 0 where the processor has the register.
            MsrRead::Fault if context.traps[PROTECTION_FAULT].address.get().0 == 0 => {
                self.platform.read_msr(index).map(|_| 0)
            }
            MsrRead::Fault => None,
        }
    }

    fn stored(&self, context: &Context, which: Stored) -> Option<u64> {
        match which {
            Stored::FsBase => Some(self.platform.base(Base::Fs)),
            Stored::GsBase => Some(self.platform.base(Base::Gs)),
            Stored::UserGsBase => Some(self.platform.base(Base::OtherGs)),
            Stored::TscAux => Some(context.tsc_aux.get().into()),
            Stored::SpecCtrl | Stored::MiscFeaturesEnables => Some(0),
        }
    }

    /// What a WRMSR changes; `None` for #GP.
    pub(crate) fn msr_write_effect(
        &self,
        vcpu: VcpuSlot,
        _context: &Context,
        index: u32,
        value: u64,
    ) -> Option<MsrChange> {
        match msr::write(index, value, &self.msr_context(vcpu, index, &self.policy_of(vcpu))) {
            MsrWrite::Ignore => Some(MsrChange::None),
            MsrWrite::PredictionBarrier => {
                // Right away: a repetition does no harm.
                self.platform.write_msr(PRED_CMD, 1);
                Some(MsrChange::None)
            }
            MsrWrite::Set(Stored::FsBase, value) => Some(MsrChange::Base(SEGBASE_FS, value)),
            MsrWrite::Set(Stored::GsBase, value) => Some(MsrChange::Base(SEGBASE_GS_KERNEL, value)),
            MsrWrite::Set(Stored::UserGsBase, value) => Some(MsrChange::Base(SEGBASE_GS_USER, value)),
            MsrWrite::Set(Stored::TscAux, value) => Some(MsrChange::TscAux(value as u32)),
            MsrWrite::Set(Stored::SpecCtrl | Stored::MiscFeaturesEnables, _) => Some(MsrChange::None),
            MsrWrite::HypercallPage(_) | MsrWrite::Fault => None,
        }
    }
}
