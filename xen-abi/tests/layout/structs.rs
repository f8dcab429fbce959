//! Every structure of the crate with its C type; a field with another C path is written `rust = "c.path"`.

use crate::check::{StructRow, structs};

/// One row per structure.
pub(crate) fn rows() -> Vec<StructRow> {
    structs! {
        xen::MmuUpdate = "mmu_update_t" { ptr, val };
        xen::MmuextOp = "struct mmuext_op" { cmd, arg1, arg2 };
        xen::MulticallEntry = "multicall_entry_t" { op, result, args };
        xen::VgaTextMode3 = "MEMBER(dom0_vga_console_info_t,u.text_mode_3)" {
            font_height, cursor_x, cursor_y, rows, columns
        };
        xen::VgaVesaLfb = "MEMBER(dom0_vga_console_info_t,u.vesa_lfb)" {
            width, height, bytes_per_line, bits_per_pixel, lfb_base, lfb_size, red_pos, red_size, green_pos,
            green_size, blue_pos, blue_size, rsvd_pos, rsvd_size, gbl_caps, mode_attrs, pad, ext_lfb_base
        };
        xen::Dom0VgaConsoleInfo = "dom0_vga_console_info_t" { video_type, u };
        xen::VcpuTimeInfo = "vcpu_time_info_t" {
            version, tsc_timestamp, system_time, tsc_to_system_mul, tsc_shift, flags
        };
        xen::ArchVcpuInfo = "arch_vcpu_info_t" { cr2 };
        xen::VcpuInfo = "vcpu_info_t" {
            evtchn_upcall_pending, evtchn_upcall_mask, evtchn_pending_sel, arch, time
        };
        xen::ArchSharedInfo = "arch_shared_info_t" {
            max_pfn, pfn_to_mfn_frame_list_list, nmi_reason, p2m_cr3, p2m_vaddr, p2m_generation
        };
        xen::SharedInfo = "shared_info_t" {
            vcpu_info, evtchn_pending, evtchn_mask, wc_version, wc_sec, wc_nsec, wc_sec_hi, arch
        };
        xen::StartInfoConsoleDomU = "MEMBER(start_info_t,console.domU)" { mfn, evtchn };
        xen::StartInfoConsoleDom0 = "MEMBER(start_info_t,console.dom0)" { info_off, info_size };
        xen::StartInfo = "start_info_t" {
            magic, nr_pages, shared_info, flags, store_mfn, store_evtchn, console, pt_base, nr_pt_frames,
            mfn_list, mod_start, mod_len, cmd_line, first_p2m_pfn, nr_p2m_frames
        };
        xen::MultibootModList = "struct xen_multiboot_mod_list" { mod_start, mod_end, cmdline, pad };
        arch::IretContext = "struct iret_context" { rax, r11, rcx, flags, rip, cs, rflags, rsp, ss };
        arch::CpuUserRegs = "cpu_user_regs_t" {
            r15, r14, r13, r12, rbp, rbx, r11, r10, r9, r8, rax, rcx, rdx, rsi, rdi, error_code, entry_vector,
            rip, cs, saved_upcall_mask, rflags, rsp, ss, es, ds, fs, gs
        };
        arch::TrapInfo = "trap_info_t" { vector, flags, cs, address };
        arch::VcpuGuestContext = "vcpu_guest_context_t" {
            fpu_ctxt, flags, user_regs, trap_ctxt, ldt_base, ldt_ents, gdt_frames, gdt_ents, kernel_ss,
            kernel_sp, ctrlreg, debugreg, event_callback_eip, failsafe_callback_eip, syscall_callback_eip,
            vm_assist, fs_base, gs_base_kernel, gs_base_user
        };
        arch::CpuidLeaf = "xen_cpuid_leaf_t" { leaf, subleaf, a, b, c, d };
        arch::MsrEntry = "xen_msr_entry_t" { idx, flags, val };
        event_channel::EvtchnAllocUnbound = "evtchn_alloc_unbound_t" { dom, remote_dom, port };
        event_channel::EvtchnBindInterdomain = "evtchn_bind_interdomain_t" {
            remote_dom, remote_port, local_port
        };
        event_channel::EvtchnBindVirq = "evtchn_bind_virq_t" { virq, vcpu, port };
        event_channel::EvtchnBindPirq = "evtchn_bind_pirq_t" { pirq, flags, port };
        event_channel::EvtchnBindIpi = "evtchn_bind_ipi_t" { vcpu, port };
        event_channel::EvtchnClose = "evtchn_close_t" { port };
        event_channel::EvtchnSend = "evtchn_send_t" { port };
        event_channel::EvtchnStatusUnbound = "MEMBER(evtchn_status_t,u.unbound)" { dom };
        event_channel::EvtchnStatusInterdomain = "MEMBER(evtchn_status_t,u.interdomain)" { dom, port };
        event_channel::EvtchnStatus = "evtchn_status_t" { dom, port, status, vcpu, u };
        event_channel::EvtchnBindVcpu = "evtchn_bind_vcpu_t" { port, vcpu };
        event_channel::EvtchnUnmask = "evtchn_unmask_t" { port };
        event_channel::EvtchnReset = "evtchn_reset_t" { dom };
        event_channel::EvtchnInitControl = "evtchn_init_control_t" { control_gfn, offset, vcpu, link_bits };
        event_channel::EvtchnExpandArray = "evtchn_expand_array_t" { array_gfn };
        event_channel::EvtchnSetPriority = "evtchn_set_priority_t" { port, priority };
        event_channel::EvtchnFifoControlBlock = "evtchn_fifo_control_block_t" { ready, head };
        sched::SchedShutdown = "sched_shutdown_t" { reason };
        sched::SchedPoll = "sched_poll_t" { ports, nr_ports, timeout };
        sched::SchedRemoteShutdown = "sched_remote_shutdown_t" { domain_id, reason };
        sched::SchedWatchdog = "sched_watchdog_t" { id, timeout };
        sched::SchedPinOverride = "sched_pin_override_t" { pcpu };
        vcpu::VcpuRunstateInfo = "vcpu_runstate_info_t" { state, state_entry_time, time };
        vcpu::VcpuRegisterRunstateMemoryArea = "vcpu_register_runstate_memory_area_t" { addr };
        vcpu::VcpuSetPeriodicTimer = "vcpu_set_periodic_timer_t" { period_ns };
        vcpu::VcpuSetSingleshotTimer = "vcpu_set_singleshot_timer_t" { timeout_abs_ns, flags };
        vcpu::VcpuRegisterVcpuInfo = "vcpu_register_vcpu_info_t" { mfn, offset, rsvd };
        vcpu::VcpuGetPhysid = "vcpu_get_physid_t" { phys_id };
        vcpu::VcpuRegisterTimeMemoryArea = "vcpu_register_time_memory_area_t" { addr };
        version::CompileInfo = "xen_compile_info_t" { compiler, compile_by, compile_domain, compile_date };
        version::PlatformParameters = "xen_platform_parameters_t" { virt_start };
        version::FeatureInfo = "xen_feature_info_t" { submap_idx, submap };
        version::BuildId = "xen_build_id_t" { len };
        callback::CallbackRegister = "callback_register_t" { type_ = "type", flags, address };
        callback::CallbackUnregister = "callback_unregister_t" { type_ = "type" };
        nmi::XennmiCallback = "xennmi_callback_t" { handler_address };
        grant_table::GrantEntryV1 = "grant_entry_v1_t" { flags, domid, frame };
        grant_table::GrantEntryHeader = "grant_entry_header_t" { flags, domid };
        grant_table::GrantEntryV2 = "grant_entry_v2_t" { hdr, body = "__spacer[1]" };
        grant_table::GrantEntryV2FullPage = "MEMBER(grant_entry_v2_t,full_page)" { hdr, frame };
        grant_table::GrantEntryV2SubPage = "MEMBER(grant_entry_v2_t,sub_page)" {
            hdr, page_off, length, frame
        };
        grant_table::GrantEntryV2Transitive = "MEMBER(grant_entry_v2_t,transitive)" {
            hdr, trans_domid, gref
        };
        grant_table::GnttabMapGrantRef = "gnttab_map_grant_ref_t" {
            host_addr, flags, ref_ = "ref", dom, status, handle, dev_bus_addr
        };
        grant_table::GnttabUnmapGrantRef = "gnttab_unmap_grant_ref_t" {
            host_addr, dev_bus_addr, handle, status
        };
        grant_table::GnttabSetupTable = "gnttab_setup_table_t" { dom, nr_frames, status, frame_list };
        grant_table::GnttabDumpTable = "gnttab_dump_table_t" { dom, status };
        grant_table::GnttabTransfer = "gnttab_transfer_t" { mfn, domid, ref_ = "ref", status };
        grant_table::GnttabCopyPtr = "struct gnttab_copy_ptr" { u, domid, offset };
        grant_table::GnttabCopy = "gnttab_copy_t" { source, dest, len, flags, status };
        grant_table::GnttabQuerySize = "gnttab_query_size_t" { dom, nr_frames, max_nr_frames, status };
        grant_table::GnttabUnmapAndReplace = "gnttab_unmap_and_replace_t" {
            host_addr, new_addr, handle, status
        };
        grant_table::GnttabSetVersion = "gnttab_set_version_t" { version };
        grant_table::GnttabGetStatusFrames = "gnttab_get_status_frames_t" {
            nr_frames, dom, status, frame_list
        };
        grant_table::GnttabGetVersion = "gnttab_get_version_t" { dom, version };
        grant_table::GnttabSwapGrantRef = "gnttab_swap_grant_ref_t" { ref_a, ref_b, status };
        grant_table::GnttabCacheFlush = "gnttab_cache_flush_t" { a, offset, length, op };
        physdev::PhysdevEoi = "physdev_eoi_t" { irq };
        physdev::PhysdevPirqEoiGmfn = "physdev_pirq_eoi_gmfn_t" { gmfn };
        physdev::PhysdevIrqStatusQuery = "physdev_irq_status_query_t" { irq, flags };
        physdev::PhysdevSetIopl = "physdev_set_iopl_t" { iopl };
        physdev::PhysdevSetIobitmap = "physdev_set_iobitmap_t" { bitmap, nr_ports };
        physdev::PhysdevApic = "physdev_apic_t" { apic_physbase, reg, value };
        physdev::PhysdevIrq = "physdev_irq_t" { irq, vector };
        physdev::PhysdevMapPirq = "physdev_map_pirq_t" {
            domid, type_ = "type", index, pirq, bus, devfn, entry_nr, table_base
        };
        physdev::PhysdevUnmapPirq = "physdev_unmap_pirq_t" { domid, pirq };
        physdev::PhysdevManagePci = "physdev_manage_pci_t" { bus, devfn };
        physdev::PhysdevRestoreMsi = "physdev_restore_msi_t" { bus, devfn };
        physdev::PciPhysfn = "MEMBER(physdev_pci_device_add_t,physfn)" { bus, devfn };
        physdev::PhysdevManagePciExt = "physdev_manage_pci_ext_t" { bus, devfn, is_extfn, is_virtfn, physfn };
        physdev::PhysdevSetupGsi = "physdev_setup_gsi_t" { gsi, triggering, polarity };
        physdev::PhysdevGetFreePirq = "physdev_get_free_pirq_t" { type_ = "type", pirq };
        physdev::PhysdevPciMmcfgReserved = "physdev_pci_mmcfg_reserved_t" {
            address, segment, start_bus, end_bus, flags
        };
        physdev::PhysdevPciDeviceAdd = "physdev_pci_device_add_t" { seg, bus, devfn, flags, physfn };
        physdev::PhysdevPciDevice = "physdev_pci_device_t" { seg, bus, devfn };
        physdev::PhysdevDbgpOp = "struct physdev_dbgp_op" { op, bus, pci = "u.pci" };
        memory::MemoryReservation = "xen_memory_reservation_t" {
            extent_start, nr_extents, extent_order, mem_flags, domid
        };
        memory::MemoryExchange = "xen_memory_exchange_t" { in_ = "in", out, nr_exchanged };
        memory::MemoryDomain = "struct xen_memory_domain" { domid };
        memory::MachphysMfnList = "xen_machphys_mfn_list_t" { max_extents, extent_start, nr_extents };
        memory::MachphysMapping = "xen_machphys_mapping_t" { v_start, v_end, max_mfn };
        memory::AddToPhysmap = "xen_add_to_physmap_t" { domid, size, space, idx, gpfn };
        memory::AddToPhysmapBatch = "xen_add_to_physmap_batch_t" { domid, space, size, u, idxs, gpfns, errs };
        memory::RemoveFromPhysmap = "xen_remove_from_physmap_t" { domid, gpfn };
        memory::MemoryMap = "xen_memory_map_t" { nr_entries, buffer };
        memory::ForeignMemoryMap = "xen_foreign_memory_map_t" { domid, map };
        memory::PodTarget = "xen_pod_target_t" {
            target_pages, tot_pages, pod_cache_pages, pod_entries, domid
        };
        memory::ReservedDeviceMemory = "xen_reserved_device_memory_t" { start_pfn, nr_pages };
        memory::ReservedDeviceMemoryMap = "xen_reserved_device_memory_map_t" {
            flags, nr_entries, buffer, dev
        };
        memory::MemAcquireResource = "xen_mem_acquire_resource_t" {
            domid, type_ = "type", id, nr_frames, pad, frame, frame_list
        };
        memory::Vmemrange = "xen_vmemrange_t" { start, end, flags, nid };
        memory::VnumaTopologyInfo = "xen_vnuma_topology_info_t" {
            domid, pad, nr_vnodes, nr_vcpus, nr_vmemranges, vdistance, vcpu_to_vnode, vmemrange
        };
        pmu::PmuVersion = "MEMBER(xen_pmu_params_t,version)" { maj, min };
        pmu::PmuParams = "xen_pmu_params_t" { version, val, vcpu, pad };
        e820::E820Entry = "test_e820_entry" { addr, size, type_ = "type" };
        hvm::HvmStartInfo = "struct hvm_start_info" {
            magic, version, flags, nr_modules, modlist_paddr, cmdline_paddr, rsdp_paddr, memmap_paddr,
            memmap_entries, reserved
        };
        hvm::HvmModlistEntry = "struct hvm_modlist_entry" { paddr, size, cmdline_paddr, reserved };
        hvm::HvmMemmapTableEntry = "struct hvm_memmap_table_entry" { addr, size, type_ = "type", reserved };
        kexec::KexecExec = "xen_kexec_exec_t" { type_ = "type" };
        kexec::KexecRange = "xen_kexec_range_t" { range, nr, size, start };
        kexec::KexecLoad = "xen_kexec_load_t" { type_ = "type", arch, nr_segments, segments, entry_maddr };
        mca::McFetch = "struct xen_mc_fetch" { flags, fetch_id, data };
        mca::McPhyscpuinfo = "struct xen_mc_physcpuinfo" { ncpus, info };
        mca::McinfoMsr = "xen_mcinfo_msr_t" { reg, value };
        mca::McinfoLogicalCpu = "xen_mc_logical_cpu_t" {
            mc_cpunr, mc_chipid, mc_coreid, mc_threadid, mc_apicid, mc_clusterid, mc_ncores, mc_ncores_active,
            mc_nthreads, mc_cpuid_level, mc_family, mc_vendor, mc_model, mc_step, mc_vendorid, mc_brandid,
            mc_cpu_caps, mc_cache_size, mc_cache_alignment, mc_nmsrvals, mc_msrvalues
        };
        mca::Mc = "xen_mc_t" { cmd, interface_version, u };
        platform::PlatformOp = "xen_platform_op_t" { cmd, interface_version, u };
        platform::XenpfPcpuinfo = "struct xenpf_pcpuinfo" { xen_cpuid, max_present, flags, apic_id, acpi_id };
        platform::XenpfPcpuVersion = "struct xenpf_pcpu_version" {
            xen_cpuid, max_present, vendor_id, family, model, stepping
        };
        platform::XenpfCpuOl = "struct xenpf_cpu_ol" { cpuid };
        platform::XenpfCpuHotadd = "struct xenpf_cpu_hotadd" { apic_id, acpi_id, pxm };
        platform::XenpfCoreParking = "struct xenpf_core_parking" { type_ = "type", idle_nums };
        platform::XenpfChangeFreq = "struct xenpf_change_freq" { flags, cpu, freq };
        platform::XenpfGetidletime = "struct xenpf_getidletime" {
            cpumap_bitmap, cpumap_nr_cpus, idletime, now
        };
        platform::XenpfResourceEntry = "struct xenpf_resource_entry" { u, rsvd, idx, val };
        platform::XenpfResourceOp = "struct xenpf_resource_op" { nr_entries, cpu, entries };
        platform::XenpfSettime32 = "struct xenpf_settime32" { secs, nsecs, system_time };
        platform::XenpfSettime64 = "struct xenpf_settime64" { secs, nsecs, mbz, system_time };
        platform::XenpfAddMemtype = "struct xenpf_add_memtype" { mfn, nr_mfns, type_ = "type", handle, reg };
        platform::XenpfDelMemtype = "struct xenpf_del_memtype" { handle, reg };
        platform::XenpfReadMemtype = "struct xenpf_read_memtype" { reg, mfn, nr_mfns, type_ = "type" };
        platform::XenpfMicrocodeUpdate = "struct xenpf_microcode_update" { data, length };
        platform::XenpfPlatformQuirk = "struct xenpf_platform_quirk" { quirk_id };
        platform::XenpfEnterAcpiSleep = "struct xenpf_enter_acpi_sleep" { val_a, val_b, sleep_state, flags };
        platform::XenpfMemHotadd = "struct xenpf_mem_hotadd" { spfn, epfn, pxm, flags };
        platform::XenpfSymdata = "struct xenpf_symdata" { namelen, symnum, name, address, type_ = "type" };
        platform::FwDiskInfo = "MEMBER(struct xenpf_firmware_info,u.disk_info)" {
            device, version, interface_support, legacy_max_cylinder, legacy_max_head,
            legacy_sectors_per_track, edd_params
        };
        platform::FwDiskMbrSignature = "MEMBER(struct xenpf_firmware_info,u.disk_mbr_signature)" {
            device, mbr_signature
        };
        platform::FwVbeddcInfo = "MEMBER(struct xenpf_firmware_info,u.vbeddc_info)" {
            capabilities, edid_transfer_time, edid
        };
        platform::FwEfiCfg = "MEMBER(struct xenpf_firmware_info,u.efi_info.cfg)" { addr, nent };
        platform::FwEfiVendor = "MEMBER(struct xenpf_firmware_info,u.efi_info.vendor)" {
            revision, bufsz, name
        };
        platform::FwEfiMem = "MEMBER(struct xenpf_firmware_info,u.efi_info.mem)" {
            addr, size, attr, type_ = "type"
        };
        platform::FwEfiPciRom = "MEMBER(struct xenpf_firmware_info,u.efi_info.pci_rom)" {
            segment, bus, devfn, vendor, devid, address, size
        };
        platform::FwEfiAppleProperties = "MEMBER(struct xenpf_firmware_info,u.efi_info.apple_properties)" {
            address, size
        };
        platform::XenpfFirmwareInfo = "struct xenpf_firmware_info" { type_ = "type", index, u };
        platform::XenpfEfiTime = "struct xenpf_efi_time" {
            year, month, day, hour, min, sec, ns, tz, daylight
        };
        platform::XenpfEfiGuid = "struct xenpf_efi_guid" { data1, data2, data3, data4 };
        platform::EfiGetTime = "MEMBER(struct xenpf_efi_runtime_call,u.get_time)" {
            time, resolution, accuracy
        };
        platform::EfiVariable = "MEMBER(struct xenpf_efi_runtime_call,u.get_variable)" {
            name, size, data, vendor_guid
        };
        platform::EfiNextVariableName = "MEMBER(struct xenpf_efi_runtime_call,u.get_next_variable_name)" {
            size, name, vendor_guid
        };
        platform::EfiVariableInfo = "MEMBER(struct xenpf_efi_runtime_call,u.query_variable_info)" {
            attr, max_store_size, remain_store_size, max_size
        };
        platform::EfiCapsuleCapabilities = "MEMBER(struct xenpf_efi_runtime_call,u.query_capsule_capabilities)" {
            capsule_header_array, capsule_count, max_capsule_size, reset_type
        };
        platform::EfiUpdateCapsule = "MEMBER(struct xenpf_efi_runtime_call,u.update_capsule)" {
            capsule_header_array, capsule_count, sg_list
        };
        platform::XenpfEfiRuntimeCall = "struct xenpf_efi_runtime_call" { function, misc, status, u };
        platform::PowerRegister = "struct xen_power_register" {
            space_id, bit_width, bit_offset, access_size, address
        };
        platform::ProcessorCsd = "struct xen_processor_csd" { domain, coord_type, num };
        platform::ProcessorCx = "struct xen_processor_cx" { reg, type_ = "type", latency, power, dpcnt, dp };
        platform::ProcessorPower = "struct xen_processor_power" { count, flags, states };
        platform::PctRegister = "struct xen_pct_register" {
            descriptor, length, space_id, bit_width, bit_offset, reserved, address
        };
        platform::ProcessorPx = "struct xen_processor_px" {
            core_frequency, power, transition_latency, bus_master_latency, control, status
        };
        platform::PsdPackage = "struct xen_psd_package" {
            num_entries, revision, domain, coord_type, num_processors
        };
        platform::ProcessorPerformance = "struct xen_processor_performance" {
            flags, platform_limit, control_register, status_register, state_count, states, domain_info,
            shared_type
        };
        platform::XenpfSetProcessorPminfo = "struct xenpf_set_processor_pminfo" { id, type_ = "type", u };
        xen::XenctlBitmap = "struct xenctl_bitmap" { bitmap, nr_bits };
        sysctl::SysctlTbufOp = "struct xen_sysctl_tbuf_op" { cmd, cpu_mask, evt_mask, buffer_mfn, size };
        sysctl::SysctlReadconsole = "struct xen_sysctl_readconsole" { clear, incremental, pad0, pad1, index, buffer, count };
        sysctl::SysctlPhysinfo = "struct xen_sysctl_physinfo" { threads_per_core, cores_per_socket, nr_cpus, max_cpu_id, nr_nodes, max_node_id, cpu_khz, capabilities, arch_capabilities, pad, total_pages, free_pages, scrub_pages, outstanding_pages, max_mfn, hw_cap };
        sysctl::SysctlSchedId = "struct xen_sysctl_sched_id" { sched_id };
        sysctl::SysctlGetdomaininfolist = "struct xen_sysctl_getdomaininfolist" { first_domain, max_domains, buffer, num_domains };
        sysctl::SysctlDebugKeys = "struct xen_sysctl_debug_keys" { keys, nr_keys };
        sysctl::SysctlMeminfo = "struct xen_sysctl_meminfo" { memsize, memfree };
        sysctl::SysctlNumainfo = "struct xen_sysctl_numainfo" { num_nodes, meminfo, distance };
        sysctl::SysctlCputopo = "struct xen_sysctl_cputopo" { core, socket, node };
        sysctl::SysctlCputopoinfo = "struct xen_sysctl_cputopoinfo" { num_cpus, cputopo };
        sysctl::SysctlAvailheap = "struct xen_sysctl_availheap" { min_bitwidth, max_bitwidth, node, avail_bytes };
        sysctl::SysctlGetcpuinfo = "struct xen_sysctl_getcpuinfo" { max_cpus, info, nr_cpus };
        sysctl::SysctlCpupoolOp = "struct xen_sysctl_cpupool_op" { op, cpupool_id, sched_id, domid, cpu, n_dom, cpumap };
        domctl::ArchDomainconfig = "struct xen_arch_domainconfig" { emulation_flags, misc_flags };
        domctl::DomctlGetdomaininfo = "struct xen_domctl_getdomaininfo" { domain, pad1, flags, tot_pages, max_pages, outstanding_pages, shr_pages, paged_pages, shared_info_frame, cpu_time, nr_online_vcpus, max_vcpu_id, ssidref, handle, cpupool, gpaddr_bits, pad2, arch_config };
        domctl::DomctlGetvcpuinfo = "struct xen_domctl_getvcpuinfo" { vcpu, online, blocked, running, cpu_time, cpu };
        domctl::DomctlVcpuaffinity = "struct xen_domctl_vcpuaffinity" { vcpu, flags, cpumap_hard, cpumap_soft };
        sysctl::Sysctl = "struct xen_sysctl" { cmd, interface_version, u };
        domctl::Domctl = "struct xen_domctl" { cmd, interface_version, domain, u };
        sysctl::SysctlSchedulerOp = "struct xen_sysctl_scheduler_op" { cpupool_id, sched_id, cmd, u };
        sysctl::SysctlCredit2Schedule = "struct xen_sysctl_credit2_schedule" { ratelimit_us };
        domctl::DomctlSchedulerOp = "struct xen_domctl_scheduler_op" { sched_id, cmd, u };
        domctl::DomctlSchedCredit2 = "struct xen_domctl_sched_credit2" { weight, cap };
        domctl::DomctlCreatedomain = "struct xen_domctl_createdomain" { ssidref, handle, flags, iommu_opts, max_vcpus, max_evtchn_port, max_grant_frames, max_maptrack_frames, grant_opts, vmtrace_size, cpupool_id, arch };
        domctl::DomctlMaxMem = "struct xen_domctl_max_mem" { max_memkb };
        domctl::DomctlMaxVcpus = "struct xen_domctl_max_vcpus" { max };
        domctl::DomctlVcpucontext = "struct xen_domctl_vcpucontext" { vcpu, ctxt };
        domctl::DomctlSetdomainhandle = "struct xen_domctl_setdomainhandle" { handle };
        domctl::DomctlHypercallInit = "struct xen_domctl_hypercall_init" { gmfn };
        domctl::DomctlAddressSize = "struct xen_domctl_address_size" { size };
        domctl::DomctlSubscribe = "struct xen_domctl_subscribe" { port };
        domctl::DomctlTscInfo = "struct xen_domctl_tsc_info" { tsc_mode, gtsc_khz, incarnation, pad, elapsed_nsec };
        domctl::DomctlGetpageframeinfo3 = "struct xen_domctl_getpageframeinfo3" { num, array };
        domctl::DomctlShadowOp = "struct xen_domctl_shadow_op" { op, mode, mb, dirty_bitmap, pages, stats };
        domctl::DomctlExtVcpucontext = "struct xen_domctl_ext_vcpucontext" { vcpu, size, syscall32_callback_eip, sysenter_callback_eip, syscall32_callback_cs, sysenter_callback_cs, syscall32_disables_events, sysenter_disables_events, vmce };
        domctl::HvmVmceVcpu = "struct hvm_vmce_vcpu" { caps, mci_ctl2_bank0, mci_ctl2_bank1, mcg_ext_ctl };
        domctl::DomctlVcpuextstate = "struct xen_domctl_vcpuextstate" { vcpu, xfeature_mask, size, buffer };
        domctl::DomctlVcpuMsr = "struct xen_domctl_vcpu_msr" { index, reserved, value };
        domctl::DomctlVcpuMsrs = "struct xen_domctl_vcpu_msrs" { vcpu, msr_count, msrs };
        domctl::DomctlNodeaffinity = "struct xen_domctl_nodeaffinity" { nodemap };
        sysctl::SysctlCpuLevellingCaps = "struct xen_sysctl_cpu_levelling_caps" { caps };
        sysctl::SysctlCpuFeatureset = "struct xen_sysctl_cpu_featureset" { index, nr_features, features };
        sysctl::SysctlCpuPolicy = "struct xen_sysctl_cpu_policy" { index, nr_leaves, nr_msrs, _rsvd, leaves, msrs };
        domctl::DomctlCpuPolicy = "struct xen_domctl_cpu_policy" { nr_leaves, nr_msrs, leaves, msrs, err_leaf, err_subleaf, err_msr };
        domctl::DomctlSendtrigger = "struct xen_domctl_sendtrigger" { trigger, vcpu };
        sysctl::SysctlGetPmstat = "struct xen_sysctl_get_pmstat" { kind = "type", cpuid, u };
        sysctl::SysctlPmOp = "struct xen_sysctl_pm_op" { cmd, cpuid, u };
        sysctl::SysctlCpuHotplug = "struct xen_sysctl_cpu_hotplug" { cpu, op };
        sysctl::SysctlLivepatchOp = "struct xen_sysctl_livepatch_op" { cmd, pad, u };
        sysctl::SysctlLivepatchList = "struct xen_sysctl_livepatch_list" { version, idx, nr, pad, name_total_size, metadata_total_size, status, name, len, metadata, metadata_len };
        hypfs::HypfsDirentry = "struct xen_hypfs_direntry" { kind = "type", encoding, pad, content_len, max_write_len };
        sysctl::SysctlPcitopoinfo = "struct xen_sysctl_pcitopoinfo" { num_devs, devs, nodes };
    }
}
