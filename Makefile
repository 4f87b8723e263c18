# Pelorus. `make help` prints this list.
#
#   make             build the program: build/pelorus
#   make demo        watch a lost master's work move (DEMO_EXIT=1: no dashboard at the end)
#   make check       install what tests need, build all, run every suite
#   make run         a coordinator on conf/pelorus.yaml
#   make sim         simulated clusters: SEEDS=N of them, or SEED=N to replay one; RENEWALS=grouped: all in groups
#   make chaos       real clusters, killed and stopped at random: RUNS=N of SECONDS=60 each
#   make partitions  likewise, their networks cut at random: RUNS=N
#   make soak        clusters that live for long and lose owners: MINUTES=n, REGISTRY=all or one, NODES, RATE, LEASE, RENEWALS
#   make pods        what is left of 20,000 that joined, worked and left: PODS=n, ITEMS=n, IDLE=seconds, REGISTRY=one
#   make idle        what is logged while nothing happens: MINUTES=n, REGISTRY=one
#   make contract    the API against openapi.yaml, also in chains of requests: SEEDS="1 2" EXAMPLES=50
#   make interop    servers that are not in Debian, over the network: exact versions
#   make model       the failover protocol, checked by spin
#   make bench-placement  the balancer beside others' in a simulated cluster: SEEDS=N
#   make bench-placement-readme, bench-live-readme  and put the figures into README.md and docs/
#   make bench-live  the same over real HTTP in real time: SECONDS=N of it, SEEDS=N, SCENARIO=NAME, VARIANT=all, JOBS=N side by side
#   make bench       figures beside what is to be reached: ONLY=REGEX, BASELINE=FILE of an earlier run
#   make bench-old   the same of this tree and of COMMIT=abc, in turn: PAIRS=N, ONLY=REGEX
#   make bench-deps, bench-readme  install what they run (Debian); put the figures into README.md and docs/
#   make bench-memory  what an item and a node hold: REGISTRY=KIND ITEMS=N NODES=N
#   make guard       instructions of a pick, a report, an answer, a move beside the committed counts
#   make guard-baseline   take those of now
#   make hammer      eight threads on one balancer for SECONDS=60, and over HTTP; every grant is accounted for
#   make fuzz        look for inputs that break a parser: SECONDS=N for each
#   make lint        house rules, clang-tidy, cppcheck
#   make house       includes point one way, every header compiles alone
#   make format      clang-format in place
#   make deps        install what building and testing needs (Debian)
#   make install     into DESTDIR, below PREFIX=/usr
#   make clean       remove build/
#
#   SAN=address|thread  build and test in a tree of its own with sanitizers
#   CC=clang            likewise with clang; WERROR=1: warnings are errors;
#                       V=1: show every command

ifeq ($(origin CC),default)
CC      := gcc
endif
PREFIX  ?= /usr
SEEDS   ?= 2000
VERSION := 0.1.0
BUILD   ?= build$(if $(SAN),/$(SAN))$(if $(findstring clang,$(CC)),/clang)

Q   := $(if $(V),,@)
SAY := @$(if $(V),:,printf '  %-4s %s\n')

# The program is linked with the first; it loads the clients of the registries
# when it needs one (base/library/library.h). Tests call those as they are.
LINKED    := libuv libmicrohttpd yaml-0.1 sqlite3
LIBRARIES := $(LINKED) libmariadb libpq libcurl
LIB_CFLAGS = $(shell pkg-config --cflags $(LIBRARIES)) -DTHREADED
LIB_LIBS   = $(shell pkg-config --libs $(LINKED)) -ldl -lpthread -lm
# ZooKeeper's client is loaded by tests as well (tests/lib/zookeeper_mt.h); THREADED
# gives the calls of its header that block.
TEST_LIBS  = $(shell pkg-config --libs $(LIBRARIES)) -lcjson -lcmocka -ldl -lpthread -lm $(LDLIBS)

SANITIZE_address := -fsanitize=address,undefined -fno-sanitize-recover=all
SANITIZE_thread  := -fsanitize=thread
SANITIZE := $(SANITIZE_$(SAN))
WARNINGS := -Wall -Wextra -Wshadow -Wconversion -Wstrict-prototypes \
            -Wmissing-prototypes -Wformat=2 -Wundef -Wvla $(if $(WERROR),-Werror)
OPTIMIZE ?= -O2
ALL_CFLAGS = -std=c11 -D_GNU_SOURCE -DPELORUS_VERSION='"$(VERSION)"' -I. -g \
             $(OPTIMIZE) $(WARNINGS) -fno-omit-frame-pointer $(SANITIZE) $(CFLAGS)
ALL_LDFLAGS = $(SANITIZE) $(LDFLAGS)

# All C files of a room, and of the folders in it, belong to the program;
# main.c alone stays outside the archive that the tests link.
ROOMS    := base conf registry cluster work failover restore balancer coordinator agent http cli
MAIN     := cli/main.c
SOURCES  := $(filter-out $(MAIN),$(foreach r,$(ROOMS),$(sort $(wildcard $(r)/*.c $(r)/*/*.c))))
OBJECTS  := $(SOURCES:%.c=$(BUILD)/%.o)
ARCHIVE  := $(BUILD)/libpelorus.a

# Every tests/*/test_*.c is a program of its own; the other C files beside
# them are shared by the programs of that folder.
TEST_SOURCES := $(sort $(wildcard tests/unit/test_*.c tests/registry/test_*.c tests/sim/test_*.c tests/integration/test_*.c))
TESTS        := $(TEST_SOURCES:%.c=$(BUILD)/%)
TEST_SHARED   = $(filter-out tests/$(1)/test_%.c tests/sim/sim.c,$(wildcard tests/lib/*.c tests/lib/*/*.c tests/$(1)/*.c))
BENCH_SHARED := $(filter-out tests/bench/bench_%,$(wildcard tests/bench/*.c)) $(wildcard tests/lib/memory/*.c) tests/bench/live/wire.c tests/lib/daemon.c tests/lib/proxy.c tests/lib/zookeeper_mt.c \
                $(patsubst %,tests/registry/%_server.c,zookeeper sql mysql postgresql)
FUZZERS      := $(patsubst %.c,$(BUILD)/%,$(sort $(wildcard tests/fuzz/fuzz_*.c)))
BENCH_ARCHIVE := $(BUILD)/tests/bench/libbench.a
BENCHES      := $(patsubst %.c,$(BUILD)/%,$(sort $(wildcard tests/bench/bench_*.c)))

.PHONY: all help deps contract contract-tool demo run check check-build check-run tests sim chaos partitions soak pods idle interop model bench benches bench-deps bench-old bench-readme bench-live bench-live-readme bench-memory bench-placement bench-placement-readme fuzz lint house format install clean guard guard-baseline hammer
.SECONDARY:
.DELETE_ON_ERROR:

all: $(BUILD)/pelorus

help:
	@sed -n 's/^#   //p' Makefile

$(BUILD)/pelorus: $(MAIN:%.c=$(BUILD)/%.o) $(ARCHIVE)
	$(SAY) LINK $@
	$(Q)$(CC) $(ALL_LDFLAGS) -o $@ $^ $(LIB_LIBS)

$(ARCHIVE): $(OBJECTS)
	@rm -f $@
	$(Q)ar rcs $@ $^

$(BUILD)/%.o: %.c $(BUILD)/.libraries
	@mkdir -p $(@D)
	$(SAY) CC $<
	$(Q)$(CC) $(ALL_CFLAGS) $(LIB_CFLAGS) -MMD -MP -c -o $@ $<

$(BUILD)/http/cluster.o: http/openapi.yaml # put into the program as it is

$(BUILD)/.libraries:
	@mkdir -p $(@D)
	@pkg-config --exists $(LIBRARIES) || { for p in $(LIBRARIES); do pkg-config --exists $$p || \
	  echo "pelorus: the library $$p is missing: run 'make deps' on Debian, elsewhere install its development package" >&2; done; exit 1; }
	@echo '#include <zookeeper/zookeeper.h>' | $(CC) -E - >/dev/null 2>&1 || { \
	  echo "pelorus: zookeeper/zookeeper.h is missing: run 'make deps' on Debian (libzookeeper-st-dev)" >&2; exit 1; }
	@touch $@

# A Debian machine gets what is missing; elsewhere the script says what to install.
deps:
	@packaging/deps.sh

# Only what building takes, and the registry's server if one is named.
demo:
	@packaging/deps.sh build $(REGISTRY)
	@$(MAKE) --no-print-directory -j$$(nproc) all
	@PELORUS=$(BUILD)/pelorus tests/integration/demo.sh

run: all
	$(BUILD)/pelorus serve -c conf/pelorus.yaml

check: deps contract-tool
	@$(MAKE) --no-print-directory -j$$(nproc) WERROR=1 check-build
	@$(MAKE) --no-print-directory WERROR=1 check-run

check-build: $(BUILD)/pelorus tests $(BENCHES) $(if $(SAN)$(findstring clang,$(CC)),,$(BUILD)/tests/bench/guard/guard) $(BUILD)/bench_placement $(BUILD)/bench_live $(BUILD)/tests/sim/sim

check-run: check-build
	@BUILD=$(BUILD) SAN=$(SAN) CC="$(CC)" tests/check.sh

tests: $(TESTS) $(FUZZERS) $(BUILD)/tests/bench/placement/test_placement $(BUILD)/tests/bench/live/test_live

define link_test
$(BUILD)/tests/$(1)/test_%: $(BUILD)/tests/$(1)/test_%.o $(patsubst %.c,$(BUILD)/%.o,$(call TEST_SHARED,$(1))) $(ARCHIVE)
	$$(SAY) LINK $$@
	$$(Q)$$(CC) $$(ALL_LDFLAGS) -o $$@ $$^ $$(TEST_LIBS)
endef
$(foreach d,unit registry sim integration,$(eval $(call link_test,$(d))))

$(BUILD)/tests/fuzz/fuzz_%: $(BUILD)/tests/fuzz/fuzz_%.o $(BUILD)/tests/fuzz/replay.o $(ARCHIVE)
	$(SAY) LINK $@
	$(Q)$(CC) $(ALL_LDFLAGS) -o $@ $^ $(TEST_LIBS)

# An archive, so that each takes what it asks for: older trees, which bench-old
# builds, lack functions that others of these call.
$(BENCH_ARCHIVE): $(BENCH_SHARED:%.c=$(BUILD)/%.o)
	@rm -f $@
	$(Q)ar rcs $@ $^

$(BUILD)/tests/bench/bench_%: $(BUILD)/tests/bench/bench_%.o $(BENCH_ARCHIVE) $(ARCHIVE)
	$(SAY) LINK $@
	$(Q)$(CC) $(ALL_LDFLAGS) -o $@ $^ $(TEST_LIBS)

sim: $(BUILD)/tests/sim/sim
	$(BUILD)/tests/sim/sim $(if $(RENEWALS),--renewals $(RENEWALS)) $(if $(SEED),--seed $(SEED) --verbose,--seeds $(SEEDS))

$(BUILD)/tests/sim/sim: $(patsubst %.c,$(BUILD)/%.o,tests/sim/sim.c $(call TEST_SHARED,sim)) $(ARCHIVE)
	$(SAY) LINK $@
	$(Q)$(CC) $(ALL_LDFLAGS) -o $@ $^ $(TEST_LIBS)

HAMMER = HAMMER_SECONDS=$(or $(SECONDS),60) TSAN_OPTIONS="exitcode=66 suppressions=$(CURDIR)/tests/lib/tsan.supp"
hammer: all $(BUILD)/tests/unit/test_balancer_hammer
	$(HAMMER) $(BUILD)/tests/unit/test_balancer_hammer
	$(HAMMER) PELORUS=$(abspath $(BUILD)/pelorus) BUILD=$(BUILD) SAN=$(SAN) python3 tests/integration/test_hammer.py

chaos partitions: all
	@PELORUS=$(abspath $(BUILD)/pelorus) BUILD=$(BUILD) $(foreach v,RUNS SECONDS SEED REGISTRIES,$(if $($(v)),$(v)=$($(v)))) python3 tests/integration/$@.py

SOAKED = $(if $(filter-out all,$(REGISTRY)),$(REGISTRY),sqlite etcd zookeeper mysql postgresql)
soak:
	@packaging/deps.sh $(SOAKED)
	@$(MAKE) --no-print-directory all
	@PELORUS=$(abspath $(BUILD)/pelorus) BUILD=$(BUILD) SAN=$(SAN) $(foreach v,MINUTES REGISTRY NODES RATE LEASE SEED RENEWALS,$(if $($(v)),$(v)=$($(v)))) python3 tests/integration/soak.py

pods: all
	@PELORUS=$(abspath $(BUILD)/pelorus) BUILD=$(BUILD) $(foreach v,PODS ITEMS IDLE REGISTRY,$(if $($(v)),$(v)=$($(v)))) python3 tests/integration/pods.py

idle: all
	@PELORUS=$(abspath $(BUILD)/pelorus) BUILD=$(BUILD) $(foreach v,MINUTES REGISTRY,$(if $($(v)),$(v)=$($(v)))) python3 tests/integration/idle.py

# Exact versions from PyPI; elsewhere and without a network this is an error.
contract-tool:
	@tests/contract/install.sh

contract: all contract-tool
	@PELORUS=$(abspath $(BUILD)/pelorus) PHASES=examples,coverage,fuzzing,stateful $(foreach v,SEEDS EXAMPLES,$(if $(filter command environment,$(origin $(v))),$(v)="$($(v))")) python3 tests/integration/test_contract.py

# Exact versions by each language's own client; without a network an error.
interop: all
	@packaging/deps.sh interop
	@BUILD=$(BUILD) tests/interop/run.sh

model:
	@BUILD=$(BUILD)/model tests/model/run.sh

benches: $(BENCHES)

bench bench-old: all benches
	@BUILD=$(BUILD) $(foreach v,ONLY BASELINE PAIRS,$(if $($(v)),$(v)="$($(v))")) python3 tests/bench/bench.py $(if $(findstring old,$@),--old "$(COMMIT)")

bench-deps:
	@packaging/deps.sh bench

bench-readme:
	tests/bench/readme.py --take $(wildcard build/bench/bench.json build/bench/bench-old.json)

bench-memory: all $(BUILD)/tests/bench/bench_memory
	PELORUS=$(BUILD)/pelorus $(BUILD)/tests/bench/bench_memory --registry $(or $(REGISTRY),sqlite) --items $(or $(ITEMS),100000)
	PELORUS=$(BUILD)/pelorus $(BUILD)/tests/bench/bench_memory --registry $(or $(REGISTRY),sqlite) --nodes $(or $(NODES),10000)

# Instructions of a pick, a report, an answer and a move beside the committed
# baseline; part of make check. The second takes the counts of now.
GUARD := $(wildcard tests/bench/guard/*.c)

guard guard-baseline: $(BUILD)/tests/bench/guard/guard
	@BUILD=$(BUILD) tests/bench/guard/guard.py $(if $(findstring baseline,$@),--baseline)

$(BUILD)/tests/bench/guard/main.o: ALL_CFLAGS += -DGUARD_FLAGS='"$(strip $(OPTIMIZE) $(CFLAGS))"'
$(BUILD)/tests/bench/guard/guard: $(patsubst %.c,$(BUILD)/%.o,$(GUARD) $(call TEST_SHARED,unit)) $(ARCHIVE)
	$(SAY) LINK $@
	$(Q)$(CC) $(ALL_LDFLAGS) -o $@ $^ $(TEST_LIBS)

# What the simulation consists of; its test is linked with all but its main.
PLACEMENT := $(filter-out %/main.c %/test_placement.c,$(wildcard tests/bench/placement/*.c tests/bench/policies/*.c))

$(BUILD)/bench_placement: $(BUILD)/tests/bench/placement/main.o
$(BUILD)/tests/bench/placement/test_placement: $(BUILD)/tests/bench/placement/test_placement.o
$(BUILD)/bench_placement $(BUILD)/tests/bench/placement/test_placement: $(PLACEMENT:%.c=$(BUILD)/%.o) $(ARCHIVE)
	$(SAY) LINK $@
	$(Q)$(CC) $(ALL_LDFLAGS) -o $@ $(filter %.o,$^) $(ARCHIVE) $(TEST_LIBS)

# The same with a real coordinator behind it.
LIVE := $(filter-out %/main.c %/test_live.c,$(wildcard tests/bench/live/*.c)) tests/lib/daemon.c

$(BUILD)/bench_live: $(BUILD)/tests/bench/live/main.o
$(BUILD)/tests/bench/live/test_live: $(BUILD)/tests/bench/live/test_live.o
$(BUILD)/bench_live $(BUILD)/tests/bench/live/test_live: $(PLACEMENT:%.c=$(BUILD)/%.o) $(LIVE:%.c=$(BUILD)/%.o) $(ARCHIVE)
	$(SAY) LINK $@
	$(Q)$(CC) $(ALL_LDFLAGS) -o $@ $(filter %.o,$^) $(ARCHIVE) $(TEST_LIBS)

bench-live: $(BUILD)/pelorus $(BUILD)/bench_live
	@mkdir -p $(BUILD)/bench
	$(BUILD)/bench_live --pelorus $(BUILD)/pelorus --out $(BUILD)/bench/placement-live.csv $(if $(SCENARIO),--scenario $(SCENARIO)) $(if $(VARIANT),--variant $(VARIANT)) $(if $(SECONDS),--measured $(SECONDS)) $(if $(JOBS),--jobs $(JOBS)) --seeds $(if $(filter command environment,$(origin SEEDS)),$(SEEDS),1)

bench-placement: $(BUILD)/bench_placement
	@mkdir -p $(BUILD)/bench
	$(BUILD)/bench_placement --out $(BUILD)/bench --seeds $(if $(filter command environment,$(origin SEEDS)),$(SEEDS),20)

bench-placement-readme: bench-placement
	tests/bench/placement/readme.py --take $(foreach f,placement placement-variants,$(BUILD)/bench/$(f).csv $(BUILD)/bench/$(f).svg)

bench-live-readme: bench-live
	tests/bench/placement/readme.py --take $(BUILD)/bench/placement-live.csv

fuzz:
	@packaging/deps.sh fuzz
	@SECONDS_EACH=$(or $(SECONDS),30) tests/fuzz/run.sh

lint:
	@packaging/deps.sh lint
	@$(MAKE) --no-print-directory house
	@tests/lint.sh $(wildcard $(ROOMS))

house: $(BUILD)/pelorus
	@BUILD=$(BUILD) tests/rooms.py
	@CC="$(CC)" CFLAGS="$(ALL_CFLAGS) $(LIB_CFLAGS)" tests/house.sh

format:
	clang-format -i $$(git ls-files '*.c' '*.h')

install: all
	install -D -m 755 $(BUILD)/pelorus $(DESTDIR)$(PREFIX)/bin/pelorus
	test -e $(DESTDIR)/etc/pelorus/pelorus.yaml || install -D -m 644 conf/pelorus.yaml $(DESTDIR)/etc/pelorus/pelorus.yaml
	install -D -m 644 packaging/pelorus.service $(DESTDIR)$(PREFIX)/lib/systemd/system/pelorus.service
	sed -i 's,=/usr/bin/,=$(PREFIX)/bin/,' $(DESTDIR)$(PREFIX)/lib/systemd/system/pelorus.service

clean:
	rm -rf build

-include $(OBJECTS:.o=.d) $(MAIN:%.c=$(BUILD)/%.d) $(TEST_SOURCES:%.c=$(BUILD)/%.d) \
  $(patsubst %.c,$(BUILD)/%.d,$(wildcard tests/*/*.c tests/*/*/*.c))
