/* QEMU's interface for plugins (docs/devel/tcg-plugins), as far as the plugins here use it: the package has no header. */
#include <stddef.h>
#include <stdint.h>

typedef uint64_t plugin_id;
struct qemu_plugin_tb;
struct qemu_plugin_insn;
struct qemu_plugin_scoreboard;
struct qemu_plugin_register;
typedef struct {
    struct qemu_plugin_scoreboard *score;
    size_t offset;
} plugin_u64;

/* What an inline operation does. */
enum { PLUGIN_ADD = 0, PLUGIN_STORE = 1 };
/* What a callback does to the processor's registers. */
enum { PLUGIN_NO_REGISTERS = 0, PLUGIN_READS_REGISTERS = 1, PLUGIN_CHANGES_REGISTERS = 2 };
/* When a conditional callback comes: the number in the scoreboard is or is not the one given. */
enum { PLUGIN_EQUAL = 2, PLUGIN_DIFFERS = 3 };

typedef void (*plugin_callback)(unsigned cpu, void *);

/* Of GLib. */
struct plugin_bytes {
    uint8_t *data;
    unsigned size;
};
struct plugin_bytes *g_byte_array_new(void);
struct plugin_bytes *g_byte_array_set_size(struct plugin_bytes *, unsigned size);

/* A list, by GLib, of the registers. */
struct plugin_registers {
    const struct plugin_register {
        struct qemu_plugin_register *handle;
        const char *name, *feature;
    } *data;
    unsigned count;
};
struct plugin_registers *qemu_plugin_get_registers(void);
/* Adds the register's bytes to the array. */
int qemu_plugin_read_register(struct qemu_plugin_register *, struct plugin_bytes *);
void qemu_plugin_register_vcpu_init_cb(plugin_id, void (*)(plugin_id, unsigned cpu));

struct qemu_plugin_scoreboard *qemu_plugin_scoreboard_new(size_t size);
void *qemu_plugin_scoreboard_find(struct qemu_plugin_scoreboard *, unsigned cpu);
uint64_t qemu_plugin_tb_vaddr(const struct qemu_plugin_tb *);
size_t qemu_plugin_tb_n_insns(const struct qemu_plugin_tb *);
struct qemu_plugin_insn *qemu_plugin_tb_get_insn(const struct qemu_plugin_tb *, size_t index);
size_t qemu_plugin_insn_size(const struct qemu_plugin_insn *);
size_t qemu_plugin_insn_data(const struct qemu_plugin_insn *, void *bytes, size_t size);
uint64_t qemu_plugin_insn_vaddr(const struct qemu_plugin_insn *);
void qemu_plugin_register_vcpu_tb_trans_cb(plugin_id, void (*)(plugin_id, struct qemu_plugin_tb *));
void qemu_plugin_register_vcpu_insn_exec_inline_per_vcpu(struct qemu_plugin_insn *, int op, plugin_u64, uint64_t);
void qemu_plugin_register_vcpu_tb_exec_inline_per_vcpu(struct qemu_plugin_tb *, int op, plugin_u64, uint64_t);
void qemu_plugin_register_vcpu_insn_exec_cb(struct qemu_plugin_insn *, plugin_callback, int flags, void *);
void qemu_plugin_register_vcpu_tb_exec_cb(struct qemu_plugin_tb *, plugin_callback, int flags, void *);
void qemu_plugin_register_vcpu_insn_exec_cond_cb(struct qemu_plugin_insn *, plugin_callback, int flags, int condition,
                                                 plugin_u64, uint64_t, void *);
void qemu_plugin_register_vcpu_tb_exec_cond_cb(struct qemu_plugin_tb *, plugin_callback, int flags, int condition,
                                               plugin_u64, uint64_t, void *);
