/* A QEMU plugin that counts what an instruction count does not show: entries into the hypervisor, loads of CR3, flushes,
 * MSR writes and so on, of all processors together; and how many instructions are the hypervisor's own.
 *
 * The guest marks a stretch with two NOPs whose displacement says which (ci/guest/bench.c). For each stretch the
 * plugin writes a line to the file of the option out=: the stretch's number and the counts within, in the order of
 * `enum kind`. With profile=FILE it writes there how many instructions each block of code executed within all
 * stretches: a line "ADDRESS SIZES COUNT" each, the bytes of each of its instructions as a hexadecimal digit. Processors take turns in one thread of QEMU's, as with -icount.
 *
 * Everything is counted by calls. Of several processors in one thread, the inline operations of QEMU 10.0 damage what
 * the second one computes: the number of the processor, a constant of the code generator, is multiplied in place.
 */
#include "interface.h"

#include <stdbool.h>
#include <stdio.h>
#include <string.h>

/* The version of the interface that has all that is used here. */
__attribute__((visibility("default"))) int qemu_plugin_version = 2;

enum kind { INSTRUCTION, OWN, TRAP, CR3, CR4, FLUSH, INVLPG, WRMSR, IRET, SYSRET, PORT, LOCKED, KINDS };

/* Where a hypervisor's code is, Xen's and the image alike (ci/src/symbols.rs). */
#define HYPERVISOR 0xffff82d040000000ull
#define HYPERVISOR_SIZE 0x40000000ull

static bool is_hypervisor(uint64_t address)
{
    /* Unsigned: what is below has a large difference. */
    return address - HYPERVISOR < HYPERVISOR_SIZE;
}

/* nopl MARK(%rax), the displacement being MARK + BEGIN or MARK + END. */
static const uint8_t mark[] = { 0x0f, 0x1f, 0x80 };
#define MARK 0x4c414230u
enum { BEGIN = 1, END = 2 };

static uint64_t counts[KINDS], start[KINDS];
static unsigned long stretches;
static FILE *out;

/* Blocks of code by address and sizes, in a hash table that is never full in practice; what finds no place is not counted. */
#define BLOCKS (1u << 18)
struct block {
    uint64_t address, executed, before, within;
    char *sizes;
};
static struct block blocks[BLOCKS];
static const char *profile;

static size_t place_of(uint64_t address, const char *sizes)
{
    size_t at = (address * 0x9e3779b97f4a7c15u) >> 46;

    for (size_t tries = 0; tries < 64; tries++, at = (at + 1) % BLOCKS) {
        struct block *block = &blocks[at];

        if (!block->sizes)
            *block = (struct block){ .address = address, .sizes = strdup(sizes) };
        if (block->address == address && strcmp(block->sizes, sizes) == 0)
            return at;
    }
    return BLOCKS;
}

static void profile_begin(void)
{
    for (size_t i = 0; i < BLOCKS; i++)
        blocks[i].before = blocks[i].executed;
}

static void profile_end(void)
{
    FILE *file = fopen(profile, "w");

    for (size_t i = 0; i < BLOCKS; i++) {
        blocks[i].within += blocks[i].executed - blocks[i].before;
        if (file && blocks[i].within)
            fprintf(file, "%llx %s %llu\n", (unsigned long long)blocks[i].address, blocks[i].sizes,
                    (unsigned long long)blocks[i].within);
    }
    if (file)
        fclose(file);
}

static void at_mark(unsigned cpu, void *which)
{
    if ((uintptr_t)which == BEGIN) {
        memcpy(start, counts, sizeof(start));
        if (profile)
            profile_begin();
        return;
    }
    fprintf(out, "%lu", stretches++);
    for (int i = 0; i < KINDS; i++)
        fprintf(out, " %llu", (unsigned long long)(counts[i] - start[i]));
    fputc('\n', out);
    fflush(out);
    if (profile)
        profile_end();
    (void)cpu;
}

/* The registers that an instruction may name, by number, and CR4. */
static const char *const names[] = { "rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi", "r8",
                                     "r9",  "r10", "r11", "r12", "r13", "r14", "r15", "cr4" };
#define NAMES (sizeof(names) / sizeof(names[0]))
#define CR4_NAME (NAMES - 1)
static struct qemu_plugin_register *registers[NAMES];
static struct plugin_bytes *bytes;

static void find_registers(plugin_id id, unsigned cpu)
{
    struct plugin_registers *all = qemu_plugin_get_registers();

    for (unsigned i = 0; i < all->count; i++)
        for (size_t j = 0; j < NAMES; j++)
            if (strcmp(all->data[i].name, names[j]) == 0)
                registers[j] = all->data[i].handle;
    (void)id;
    (void)cpu;
}

static uint64_t value_of(size_t name)
{
    uint64_t value = 0;

    g_byte_array_set_size(bytes, 0);
    if (registers[name] && qemu_plugin_read_register(registers[name], bytes) > 0)
        memcpy(&value, bytes->data, bytes->size < sizeof(value) ? bytes->size : sizeof(value));
    return value;
}

/* A change of PGE, or SMEP set, flushes (Intel SDM volume 3, 4.10.4.1; no processor here has PCIDs). */
#define PGE (1u << 7)
#define SMEP (1u << 20)
static void at_cr4(unsigned cpu, void *source)
{
    uint64_t before = value_of(CR4_NAME), after = value_of((size_t)source);

    if (((before ^ after) & PGE) || (~before & after & SMEP))
        counts[FLUSH]++;
    (void)cpu;
}

/* The kind of an instruction that is counted by itself, or KINDS. */
static enum kind kind_of(const uint8_t *code, size_t size)
{
    size_t at = 0;

    /* Prefixes; REX is the last. */
    while (at < size && strchr("\x26\x2e\x36\x3e\x64\x65\x66\xf2\xf3", code[at]) && code[at] != 0)
        at++;
    if (at < size && code[at] == 0xf0)
        return LOCKED;
    if (at < size && (code[at] & 0xf0) == 0x40)
        at++;
    if (at >= size)
        return KINDS;
    switch (code[at]) {
    case 0xcf:
        return IRET;
    case 0xe4 ... 0xe7:
    case 0xec ... 0xef:
        return PORT;
    case 0x0f:
        break;
    default:
        return KINDS;
    }
    if (at + 1 >= size)
        return KINDS;
    uint8_t operand = at + 2 < size ? code[at + 2] : 0;
    switch (code[at + 1]) {
    case 0x07:
        return SYSRET;
    case 0x30:
        return WRMSR;
    case 0x01:
        return (operand & 0xc0) != 0xc0 && (operand & 0x38) == 0x38 ? INVLPG : KINDS;
    case 0x22:
        return (operand & 0x38) == 0x18 ? CR3 : (operand & 0x38) == 0x20 ? CR4 : KINDS;
    case 0x38: /* INVPCID */
        return operand == 0x82 && code[0] == 0x66 ? INVLPG : KINDS;
    default:
        return KINDS;
    }
}

/* A block of so many instructions runs. */
static void at_block(unsigned cpu, void *instructions)
{
    counts[INSTRUCTION] += (uintptr_t)instructions;
    (void)cpu;
}

/* So does one of the hypervisor's. */
static void at_own_block(unsigned cpu, void *instructions)
{
    counts[OWN] += (uintptr_t)instructions;
    at_block(cpu, instructions);
}

/* QEMU's limit for a block (TCG_MAX_INSNS). */
#define MOST_INSTRUCTIONS 512

/* The same for the profile: the block's place above, the instructions in the low bits. */
#define PLACE_SHIFT 16
static void at_place(unsigned cpu, void *what)
{
    blocks[(uintptr_t)what >> PLACE_SHIFT].executed += (uintptr_t)what & ((1u << PLACE_SHIFT) - 1);
    (void)cpu;
}

static void at_kind(unsigned cpu, void *kind)
{
    counts[(uintptr_t)kind]++;
    (void)cpu;
}

static void count(struct qemu_plugin_insn *instruction, enum kind kind)
{
    qemu_plugin_register_vcpu_insn_exec_cb(instruction, at_kind, PLUGIN_NO_REGISTERS, (void *)(uintptr_t)kind);
}

static void translated(plugin_id id, struct qemu_plugin_tb *block)
{
    size_t instructions = qemu_plugin_tb_n_insns(block);

    qemu_plugin_register_vcpu_tb_exec_cb(block, is_hypervisor(qemu_plugin_tb_vaddr(block)) ? at_own_block : at_block,
                                         PLUGIN_NO_REGISTERS, (void *)instructions);
    if (profile) {
        char sizes[MOST_INSTRUCTIONS + 1] = "";

        for (size_t i = 0; i < instructions && i < MOST_INSTRUCTIONS; i++)
            sizes[i] = "0123456789abcdef"[qemu_plugin_insn_size(qemu_plugin_tb_get_insn(block, i)) & 15];

        size_t place = place_of(qemu_plugin_tb_vaddr(block), sizes);

        if (place != BLOCKS)
            qemu_plugin_register_vcpu_tb_exec_cb(block, at_place, PLUGIN_NO_REGISTERS,
                                                 (void *)(place << PLACE_SHIFT | instructions));
    }
    for (size_t i = 0; i < instructions; i++) {
        struct qemu_plugin_insn *instruction = qemu_plugin_tb_get_insn(block, i);
        uint8_t code[16];
        size_t size = qemu_plugin_insn_data(instruction, code, sizeof(code));
        enum kind kind = kind_of(code, size);

        if (kind != KINDS)
            count(instruction, kind);
        /* Each entry ends so. */
        if ((kind == IRET || kind == SYSRET) && is_hypervisor(qemu_plugin_insn_vaddr(instruction)))
            count(instruction, TRAP);
        if (kind == CR3)
            count(instruction, FLUSH);
        /* REX.B is the highest bit of the register's number; it stands right before the opcode. */
        if (kind == CR4) {
            size_t source = (code[size - 1] & 7) | (size > 3 && (code[size - 4] & 0xf1) == 0x41 ? 8 : 0);

            qemu_plugin_register_vcpu_insn_exec_cb(instruction, at_cr4, PLUGIN_READS_REGISTERS, (void *)source);
        }
        if (size == 7 && memcmp(code, mark, sizeof(mark)) == 0) {
            uint32_t which;

            memcpy(&which, code + sizeof(mark), sizeof(which));
            if (which == MARK + BEGIN || which == MARK + END)
                qemu_plugin_register_vcpu_insn_exec_cb(instruction, at_mark, PLUGIN_NO_REGISTERS,
                                                       (void *)(uintptr_t)(which - MARK));
        }
    }
    (void)id;
}

__attribute__((visibility("default"))) int qemu_plugin_install(plugin_id id, const void *info, int argc, char **argv)
{
    (void)info;
    for (int i = 0; i < argc; i++) {
        if (strncmp(argv[i], "out=", 4) == 0)
            out = fopen(argv[i] + 4, "w");
        else if (strncmp(argv[i], "profile=", 8) == 0)
            profile = strdup(argv[i] + 8);
    }
    if (!out) {
        fprintf(stderr, "count: the option out=FILE is missing, or the file cannot be written\n");
        return -1;
    }
    bytes = g_byte_array_new();
    qemu_plugin_register_vcpu_init_cb(id, find_registers);
    qemu_plugin_register_vcpu_tb_trans_cb(id, translated);
    return 0;
}
