/* A QEMU plugin that counts what an instruction count does not show: loads of CR3, flushes, MSR writes and so on.
 *
 * The guest marks a stretch with two NOPs whose displacement says which (ci/guest/bench.c). For each stretch the
 * plugin writes a line to the file of the option out=: the stretch's number and the counts within, in the order of
 * `enum kind`. With profile=FILE it writes there how many instructions each block of code executed within all
 * stretches: a line "ADDRESS COUNT" each. One processor is assumed, as with -icount.
 */
#include "interface.h"

#include <stdio.h>
#include <string.h>

/* The version of the interface that has all that is used here. */
__attribute__((visibility("default"))) int qemu_plugin_version = 2;

enum kind { INSTRUCTION, CR3, CR4, INVLPG, WRMSR, IRET, SYSRET, PORT, LOCKED, KINDS };

/* nopl MARK(%rax), the displacement being MARK + BEGIN or MARK + END. */
static const uint8_t mark[] = { 0x0f, 0x1f, 0x80 };
#define MARK 0x4c414230u
enum { BEGIN = 1, END = 2 };

static struct qemu_plugin_scoreboard *score;
static uint64_t start[KINDS];
static unsigned long stretches;
static FILE *out;

static plugin_u64 counter(enum kind kind)
{
    return (plugin_u64){ score, kind * sizeof(uint64_t) };
}

/* Blocks of code by address, in a hash table that is never full in practice; what finds no place is not counted. */
#define BLOCKS (1u << 18)
struct block {
    uint64_t address, before, within;
};
static struct block blocks[BLOCKS];
static struct qemu_plugin_scoreboard *executed;
static const char *profile;

static size_t place_of(uint64_t address)
{
    size_t at = (address * 0x9e3779b97f4a7c15u) >> 46;

    for (size_t tries = 0; tries < 64; tries++, at = (at + 1) % BLOCKS)
        if (blocks[at].address == address || blocks[at].address == 0) {
            blocks[at].address = address;
            return at;
        }
    return BLOCKS;
}

static void profile_begin(unsigned cpu)
{
    const uint64_t *counts = qemu_plugin_scoreboard_find(executed, cpu);

    for (size_t i = 0; i < BLOCKS; i++)
        blocks[i].before = counts[i];
}

static void profile_end(unsigned cpu)
{
    const uint64_t *counts = qemu_plugin_scoreboard_find(executed, cpu);
    FILE *file = fopen(profile, "w");

    for (size_t i = 0; i < BLOCKS; i++) {
        blocks[i].within += counts[i] - blocks[i].before;
        if (file && blocks[i].within)
            fprintf(file, "%llx %llu\n", (unsigned long long)blocks[i].address, (unsigned long long)blocks[i].within);
    }
    if (file)
        fclose(file);
}

static void at_mark(unsigned cpu, void *which)
{
    const uint64_t *counts = qemu_plugin_scoreboard_find(score, cpu);

    if ((uintptr_t)which == BEGIN) {
        memcpy(start, counts, sizeof(start));
        if (profile)
            profile_begin(cpu);
        return;
    }
    fprintf(out, "%lu", stretches++);
    for (int i = 0; i < KINDS; i++)
        fprintf(out, " %llu", (unsigned long long)(counts[i] - start[i]));
    fputc('\n', out);
    fflush(out);
    if (profile)
        profile_end(cpu);
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

static void translated(plugin_id id, struct qemu_plugin_tb *block)
{
    size_t count = qemu_plugin_tb_n_insns(block);

    qemu_plugin_register_vcpu_tb_exec_inline_per_vcpu(block, 0, counter(INSTRUCTION), count);
    if (profile) {
        size_t place = place_of(qemu_plugin_tb_vaddr(block));

        if (place != BLOCKS)
            qemu_plugin_register_vcpu_tb_exec_inline_per_vcpu(
                block, 0, (plugin_u64){ executed, place * sizeof(uint64_t) }, count);
    }
    for (size_t i = 0; i < count; i++) {
        struct qemu_plugin_insn *instruction = qemu_plugin_tb_get_insn(block, i);
        uint8_t code[16];
        size_t size = qemu_plugin_insn_data(instruction, code, sizeof(code));
        enum kind kind = kind_of(code, size);

        if (kind != KINDS)
            qemu_plugin_register_vcpu_insn_exec_inline_per_vcpu(instruction, 0, counter(kind), 1);
        if (size == 7 && memcmp(code, mark, sizeof(mark)) == 0) {
            uint32_t which;

            memcpy(&which, code + sizeof(mark), sizeof(which));
            if (which == MARK + BEGIN || which == MARK + END)
                qemu_plugin_register_vcpu_insn_exec_cb(instruction, at_mark, 0, (void *)(uintptr_t)(which - MARK));
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
    if (profile)
        executed = qemu_plugin_scoreboard_new(BLOCKS * sizeof(uint64_t));
    score = qemu_plugin_scoreboard_new(KINDS * sizeof(uint64_t));
    qemu_plugin_register_vcpu_tb_trans_cb(id, translated);
    return 0;
}
