# The project's door. Every target prepares the machine first (ci/setup.sh), then asks the lab tool (ci/).
#
#   make            the bare-metal image: dist/revenant, dist/revenant.debug
#   make run        boot Dom0 on it to a shell here   KERNEL=trixie CPUS=2 MEM=2048 PEER=1 BARE=1 UEFI=1 TOOLSTACK=1
#   make check      format, lints, host tests, house laws
#   make test       all of that and the QEMU tests    FILTER=text
#   make survive    panics at any instruction         PANICS=100 SEED=1 CPUS=2 KERNEL=trixie
#                   with PV guests at work; in pieces of 50, each on a machine of its own; the rest of a run that was
#                   stopped                           GUESTS=3 PIECE=50 RESUME=1
#   make stubs      the same at every instruction of the entry and exit code
#   make chaos      the QEMU tests, failing always    FILTER=text
#   make table      answers of the stock tools beside Debian's Xen   ROWS=all PEER=1
#   make bench      instructions of operations beside Debian's Xen   ONLY="revenant EPYC-Milan" PROFILE=getpid
#   make fuzz       random hypercalls in Dom0         SEED=1 CALLS=100000 CPUS=2
#   make simulate   crashes on a fake machine        SEED=1 SEEDS=10 CPUS=2 VCPUS=2 CRASH=every|random|meeting STEPS=20000
#   make clean      forget results (downloads stay; rm -r .build forgets them too)

RUN = KERNEL="$(KERNEL)" CPUS="$(CPUS)" MEM="$(MEM)" DOM0_MEM="$(DOM0_MEM)" CPU="$(CPU)" PEER="$(PEER)" \
      BARE="$(BARE)" UEFI="$(UEFI)" ICOUNT="$(ICOUNT)" TOOLSTACK="$(TOOLSTACK)" \
      XEN="$(XEN)" APPEND="$(APPEND)" FEATURES="$(FEATURES)"

.PHONY: build setup artefacts run check test survive stubs chaos table bench fuzz simulate laws clean

build: setup
	@ci/lab build FEATURES="$(FEATURES)"

setup:
	@ci/setup.sh

artefacts: setup
	@ci/lab artefacts

run: setup
	@ci/lab run $(RUN)

check: setup
	@ci/lab check

laws: setup
	@ci/lab laws

test: setup
	@ci/lab test FILTER="$(FILTER)"

survive: setup
	@ci/lab survive $(RUN) CPUS="$(or $(CPUS),2)" PANICS="$(PANICS)" SEED="$(SEED)" \
		GUESTS="$(GUESTS)" PIECE="$(PIECE)" RESUME="$(RESUME)"

stubs: setup
	@ci/lab stubs $(RUN) CPUS="$(or $(CPUS),2)"

chaos: setup
	@ci/lab chaos FILTER="$(FILTER)"

table: setup
	@ci/lab table PEER="$(PEER)" FILTER="$(ROWS)"

bench: setup
	@ci/lab bench ONLY="$(ONLY)" PROFILE="$(PROFILE)"

fuzz: setup
	@ci/lab boot --guest-test fuzz APPEND="lab.fuzz=$(or $(SEED),1):$(or $(CALLS),100000)" CPUS="$(or $(CPUS),2)" \
		KERNEL="$(KERNEL)" --expect "LAB-RESULT fuzz pass" --refuse "LAB-RESULT fuzz fail" --walk --name fuzz --timeout 86400

simulate: setup
	@. .build/toolchain && export RUSTC && "$$CARGO" run --quiet --release --package simulator -- --seed "$(or $(SEED),1)" --seeds "$(or $(SEEDS),10)" --cpus "$(or $(CPUS),2)" --vcpus "$(or $(VCPUS),2)" \
		--crash "$(or $(CRASH),meeting)" --steps "$(or $(STEPS),20000)" --minutes "$(or $(MINUTES),10)"

clean:
	rm -rf dist target .build/image .build/iso .build/logs .build/initrd .build/guest
