# Kvant: build, test, demo, install. `make help` lists the targets.
# MODE keeps objects apart: release (default), clang, asan (clang: address, undefined, and what fuzzers need), tsan (clang, libomp), and
# debug and clang-debug, which do not optimise.
MODE    ?= release
PREFIX  ?= /usr/local
DESTDIR ?=
B       := build/$(MODE)
VERSION := 0.1.0
FUZZ_SECONDS ?= 60

# V=1 shows commands in full.
ifneq ($(V),1)
Q := @
say = @echo '$(1)'
endif

PKGS    := gsl libcjson sqlite3 libpcre2-8 libarchive zlib libcurl libcrypto
CC_release := gcc
CC_clang   := clang
CC_asan    := clang
CC_tsan    := clang
CC_debug   := gcc
CC_clang-debug := clang
ifneq ($(origin CC),command line)
CC      := $(CC_$(MODE))
endif
ifeq ($(CC),)
$(error MODE=$(MODE) is none of release, clang, asan, tsan, debug, clang-debug)
endif

# Goals that build need the libraries; the others work on a bare machine.
BARE_GOALS := help deps deps-test demo paper golden clean dist-clean uninstall test check fuzz bench
ifneq ($(filter-out $(BARE_GOALS),$(or $(MAKECMDGOALS),all)),)
ifneq ($(shell pkg-config --exists $(PKGS) 2>&1 || echo missing),)
$(error Libraries are missing: `make deps` installs them, `sh harness/deps.sh list build` names them)
endif
PKG_CFLAGS := $(shell pkg-config --cflags $(PKGS))
PKG_LIBS   := $(shell pkg-config --libs $(PKGS))
endif

WARN    := -Wall -Wextra -Wpedantic -Wshadow -Wundef -Wstrict-prototypes -Wvla -Werror
OPT_release := -O3
OPT_clang   := -O3
OPT_asan    := -O1 -g1 -fno-omit-frame-pointer -fsanitize=address,undefined -fno-sanitize-recover=all
OPT_tsan    := -O1 -g1 -fsanitize=thread
OPT_debug   := -O0 -g
OPT_clang-debug := -O0 -g
OPT     := $(OPT_$(MODE))
# What can change a value: goes into the code version.
CODEGEN := -std=c17 $(OPT) -ffp-contract=off -fopenmp
CFLAGS  += $(CODEGEN) $(WARN) -D_GNU_SOURCE -DKVANT_VERSION='"$(VERSION)"' -I. -MMD -MP $(PKG_CFLAGS)
LDFLAGS += $(filter -fsanitize=% -fopenmp,$(CODEGEN))
LDLIBS  += $(PKG_LIBS) -ldnnl -lm

# Kernels carry their instruction set in the file's name; everything else is a portable baseline.
ISA_avx2   := -mavx2 -mfma -mf16c
ISA_avx512 := -mavx2 -mfma -mf16c -mavx512f -mavx512bw -mavx512vl -mavx512dq -mavx512vnni
ISA_avx512bf16 := $(ISA_avx512) -mavx512bf16
ISAS := $(patsubst ISA_%,%,$(filter ISA_%,$(.VARIABLES)))
# What of metal/ serves the harness and is no kernel of a quantizer.
METAL_OF_HARNESS := $(wildcard metal/x86/vecmath_*.c metal/x86/peaks_*.c)

LIB_SRC  := harness/codec.c harness/params.c harness/nearest.c $(wildcard algorithms/*.c algorithms/shared/*.c) \
            $(filter-out $(METAL_OF_HARNESS),$(wildcard metal/x86/*.c))
MAIN_SRC := harness/main.c $(wildcard harness/commands/*.c)
HARN_SRC := $(filter-out $(LIB_SRC) $(MAIN_SRC),$(wildcard harness/*.c harness/*/*.c \
            datasets/*.c algorithms/allocators/*.c) $(METAL_OF_HARNESS))
TEST_SRC := $(wildcard tests/test_*.c)
FUZZ_SRC := $(wildcard tests/fuzz_*.c)
HELP_SRC := $(filter-out $(TEST_SRC) $(FUZZ_SRC) tests/bench_%.c tests/checkkernels.c tests/codes.c,$(wildcard tests/*.c))
LIB_OBJ  := $(LIB_SRC:%.c=$(B)/%.o) $(B)/gen/quantizers.o
HARN_OBJ := $(HARN_SRC:%.c=$(B)/%.o) $(B)/gen/version.o $(B)/gen/schema.o \
            $(B)/gen/report_schema.o $(B)/gen/page_css.o $(B)/gen/page_js.o
MAIN_OBJ := $(MAIN_SRC:%.c=$(B)/%.o) $(B)/gen/plugins.o
HELP_OBJ := $(HELP_SRC:%.c=$(B)/%.o)
TESTS    := $(TEST_SRC:tests/%.c=$(B)/tests/%)
CHECKERS := $(patsubst tests/%.c,$(B)/tests/%,$(wildcard tests/checkkernels.c))
FUZZERS  := $(FUZZ_SRC:tests/%.c=$(B)/tests/%)
BENCHES  := $(patsubst tests/%.c,$(B)/tests/%,$(wildcard tests/bench_*.c))

ifeq ($(MODE),release)
all: kvant
else
all: $(B)/kvant
endif

kvant: $(B)/kvant
	@cp -f $< $@.new && mv -f $@.new $@

$(B)/kvant: $(MAIN_OBJ) $(B)/libharness.a $(B)/libkvant.a
	$(call say,$(CC) $@)
	$(Q)$(CC) $(LDFLAGS) -o $@ $^ $(LDLIBS)

$(B)/libkvant.a: $(LIB_OBJ)
	@rm -f $@
	$(Q)ar rcs $@ $^

$(B)/libharness.a: $(HARN_OBJ)
	@rm -f $@
	$(Q)ar rcs $@ $^

$(B)/libtests.a: $(HELP_OBJ)
	@rm -f $@
	$(Q)ar rcs $@ $^

# Some ninety test programs are linked in three modes, which takes lld a quarter of the time.
FAST_LD := $(if $(shell command -v ld.lld),-fuse-ld=lld)

# Plug-ins live in archives that nothing but the registry names, so tests link gen/plugins.o too; other sources in tests/ than
# programs are what several of them share.
PROGRAM_PARTS := $(filter-out $(B)/harness/main.o,$(MAIN_OBJ)) $(B)/libtests.a $(B)/libharness.a $(B)/libkvant.a
$(B)/tests/fuzz_%: $(B)/tests/fuzz_%.o $(PROGRAM_PARTS)
	$(call say,$(CC) $@)
	$(Q)$(CC) $(LDFLAGS) -fsanitize=fuzzer $(FAST_LD) -o $@ $^ $(LDLIBS)

$(B)/tests/%: $(B)/tests/%.o $(PROGRAM_PARTS)
	$(call say,$(CC) $@)
	$(Q)$(CC) $(LDFLAGS) $(FAST_LD) -o $@ $^ $(LDLIBS) -lcmocka

# Built in modes that build nothing else: no more than they need of the harness.
OF_HARNESS := $(addprefix $(B)/harness/,check/check_variants.o util.o process.o)
$(B)/tests/codes: $(B)/tests/codes.o $(OF_HARNESS) $(B)/libkvant.a
$(B)/tests/checkkernels: $(B)/tests/checkkernels.o $(patsubst %.c,$(B)/%.o,$(wildcard tests/kernel_*.c metal/x86/peaks_*.c)) \
        $(OF_HARNESS) $(B)/harness/measure/peaks.o $(B)/gen/version.o $(B)/libkvant.a
$(B)/tests/codes $(B)/tests/checkkernels:
	$(call say,$(CC) $@)
	$(Q)$(CC) $(LDFLAGS) $(FAST_LD) -o $@ $^ $(LDLIBS)

# What fuzzers look for ways through: whatever reads a file. Counting them would slow everything else.
ifeq ($(MODE),asan)
FUZZED := $(wildcard harness/*.c harness/input/*.c harness/experiment/*.c harness/allocation/*.c algorithms/*.c algorithms/shared/*.c \
          datasets/*.c tests/fuzz_*.c $(patsubst %,harness/lm/%*.c,arch chat dequant gguf merge model pretokenize string_table tokenizer))
$(FUZZED:%.c=$(B)/%.o): private CFLAGS += -fsanitize=fuzzer-no-link
endif

# Kernels are loops unrolled to tens of thousands of instructions, which take minutes to compile when every load is checked in place:
# the sanitizer checks their addresses alone, by calls.
ifeq ($(MODE),asan)
$(B)/metal/x86/%_avx512.o $(B)/metal/x86/%_avx2.o: private CFLAGS := $(filter-out -fsanitize=% -fno-sanitize%,$(CFLAGS)) \
        -fsanitize=address -mllvm -asan-instrumentation-with-call-threshold=0
endif

$(B)/%.o: %.c $(B)/flags
	@mkdir -p $(@D)
	$(call say,$(CC) $@)
	$(Q)$(CC) $(CFLAGS) $(foreach i,$(ISAS),$(if $(filter %_$(i),$*),$(ISA_$(i)))) -c -o $@ $<

$(B)/gen/%.o: $(B)/gen/%.c $(B)/flags
	$(call say,$(CC) $@)
	$(Q)$(CC) $(CFLAGS) -c -o $@ $<

# Other flags or another compiler than last time: everything is compiled again.
$(B)/flags: FORCE
	@mkdir -p $(@D)
	@printf '%s\n' "$(subst ",\",$(CC) $(CFLAGS))" > $@.new
	@if cmp -s $@.new $@; then rm $@.new; else mv $@.new $@; fi

# Generated sources are rewritten only when their content changes: dropping a file into a plug-in folder is enough.
define generate
	@mkdir -p $(@D)
	@sh harness/generate.sh $(1) > $@.new && if cmp -s $@.new $@; then rm $@.new; else mv $@.new $@; fi
endef
$(B)/gen/quantizers.c: FORCE
	$(call generate,quantizers)
$(B)/gen/plugins.c: FORCE
	$(call generate,plugins)
$(B)/gen/version.c: FORCE
	$(call generate,version "$(shell $(CC) --version | head -n 1)" "$(CODEGEN)")
$(B)/gen/schema.c: FORCE
	$(call generate,embed schema_sql harness/store/schema.sql)
$(B)/gen/report_schema.c: FORCE
	$(call generate,embed report_schema_json harness/report/report.schema.json)
$(B)/gen/page_css.c: FORCE
	$(call generate,embed page_css harness/report/page.css)
$(B)/gen/page_js.c: FORCE
	$(call generate,embed page_js harness/report/page.js)

# ---- Tests, benchmarks, demo ----------------------------------------------------------------------

tests: $(TESTS) $(CHECKERS) $(B)/kvant
fuzzers: $(FUZZERS)
benches: $(BENCHES) $(CHECKERS)

check:
	@MAKE="$(MAKE)" sh tests/all.sh check

test: deps-test
	@MAKE="$(MAKE)" sh tests/all.sh test

fuzz: deps-test
	@MAKE="$(MAKE)" FUZZ_SECONDS="$(FUZZ_SECONDS)" sh tests/all.sh fuzz

BENCH_OF := experiments/decode-attention
# Specs that are run and where they are stored; QUICK=1 for a first look.
BENCH_SPECS ?= $(if $(QUICK),$(BENCH_OF)-quick.json,$(BENCH_OF).json $(BENCH_OF)-dims.json)
BENCH_STORE ?= results/kvant.db
BENCH_SHOWN := $(foreach m,ns_per_pair ns_per_pair_min over_f16 over_half code_gb_per_s read_share roof_ns roof_share,--metric $(m))
bench:
	@$(MAKE) MODE=release benches build/release/kvant
	@build/release/tests/checkkernels --bench --json results/checkkernels.json
	@model=$$(build/release/kvant fetch smollm2-135m) || model=; build/release/tests/bench_gemm $$model
	@for s in $(BENCH_SPECS); do \
	    n=$$(basename $$s .json); \
	    build/release/kvant run $$s --store $(BENCH_STORE) && build/release/kvant report $$n $(BENCH_SHOWN) --store $(BENCH_STORE) && \
	    for p in roofline depth; do build/release/kvant plot $$p $$n --store $(BENCH_STORE) || exit; done || exit; \
	done
	@echo 'bench: kernels in results/checkkernels.json, decode attention in $(BENCH_STORE), pictures in results/'

demo:
	@MAKE="$(MAKE)" sh harness/demo.sh

# FULL=1: the whole tables, not their quick variants. Stopped, it goes on where it was.
paper:
	@MAKE="$(MAKE)" FULL="$(FULL)" sh harness/paper.sh paper

golden:
	@MAKE="$(MAKE)" sh harness/paper.sh golden

deps:
	@sh harness/deps.sh install build

deps-test:
	@sh harness/deps.sh install test

# ---- Installation ---------------------------------------------------------------------------------
# The program finds its files relative to itself (../share/kvant), so an installed tree can be moved.

D := $(DESTDIR)$(PREFIX)
COMPLETIONS := $(D)/share/bash-completion/completions
ZSH_COMPLETIONS := $(D)/share/zsh/site-functions
SHARE_FILES := $(wildcard datasets/manifest.json harness/report/report.schema.json plots/*.sql plots/*.gp experiments/*.json \
               experiments/paper/*.json)

install: $(B)/kvant $(B)/libkvant.a
	install -d $(D)/bin $(D)/lib/pkgconfig $(D)/include $(D)/share/doc/kvant $(D)/share/man/man1 $(COMPLETIONS) $(ZSH_COMPLETIONS)
	install -m 755 $(B)/kvant $(D)/bin/kvant
	install -m 644 $(B)/libkvant.a $(D)/lib/libkvant.a
	install -m 644 harness/kvant.h $(D)/include/kvant.h
	install -m 644 LICENSE README.md $(D)/share/doc/kvant/
	for f in $(SHARE_FILES); do install -D -m 644 $$f $(D)/share/kvant/$$f || exit; done
	$(B)/kvant help --man > $(D)/share/man/man1/kvant.1
	$(B)/kvant help --completions bash > $(COMPLETIONS)/kvant
	$(B)/kvant help --completions zsh > $(ZSH_COMPLETIONS)/_kvant
	printf '%s\n' 'prefix=$${pcfiledir}/../..' 'Name: kvant' 'Description: vector quantizers for KV caches' \
	    'Version: $(VERSION)' 'Cflags: -I$${prefix}/include' 'Libs: -L$${prefix}/lib -lkvant' 'Requires.private: gsl' \
	    'Libs.private: -lm' > $(D)/lib/pkgconfig/kvant.pc

uninstall:
	rm -f $(D)/bin/kvant $(D)/lib/libkvant.a $(D)/lib/pkgconfig/kvant.pc $(D)/include/kvant.h \
	    $(D)/share/man/man1/kvant.1 $(COMPLETIONS)/kvant $(ZSH_COMPLETIONS)/_kvant
	rm -rf $(D)/share/kvant $(D)/share/doc/kvant

clean:
	rm -rf build kvant

# Stores are kept: they hold measurements.
dist-clean: clean
	rm -f results/*.svg results/*.png results/*.pdf results/checkkernels.json

help:
	@echo 'make              build ./kvant'
	@echo 'make demo         install what is missing, build, fetch a model, run experiments/demo.json, draw its pictures'
	@echo 'make check        the fast tests: less than a minute'
	@echo 'make test         all tests: gcc, clang, address, undefined-behaviour and thread sanitizers, scripts, short fuzzing'
	@echo 'make fuzz         every fuzzer for FUZZ_SECONDS (default 60)'
	@echo 'make bench        kernels against scalar code, products against oneDNN alone, decode attention against f16 and the roofs'
	@echo 'make paper        run the quick variants of the published tables in experiments/paper; FULL=1: all of them, for hours'
	@echo 'make golden       write results/golden, the committed outcomes that do not depend on the machine, and show what changes'
	@echo 'make deps         install what building needs (deps-test: what testing needs)'
	@echo 'make install      into PREFIX (default /usr/local), below DESTDIR; make uninstall takes it away'
	@echo 'make clean        remove what was built; make dist-clean: the pictures in results/ too'

.PHONY: all tests fuzzers benches check test fuzz bench demo paper golden deps deps-test install uninstall clean dist-clean help FORCE
.SECONDARY:
FORCE:

-include $(shell find $(B) -name '*.d' 2>/dev/null)
