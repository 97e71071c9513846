# Kvant: build, test, demo, install. `make help` lists the targets.
# MODE keeps objects apart: release (default), clang, asan (gcc, address and undefined), tsan (clang, libomp), fuzz (clang).
MODE    ?= release
PREFIX  ?= /usr/local
DESTDIR ?=
B       := build/$(MODE)
VERSION := 0.1.0

PKGS    := gsl libcjson sqlite3 libpcre2-8 libarchive libcurl libcrypto
CC_release := gcc
CC_clang   := clang
CC_asan    := gcc
CC_tsan    := clang
CC_fuzz    := clang
ifneq ($(origin CC),command line)
CC      := $(CC_$(MODE))
endif

WARN    := -Wall -Wextra -Wpedantic -Wshadow -Wundef -Wstrict-prototypes -Wvla -Werror
OPT_release := -O3
OPT_clang   := -O3
OPT_asan    := -O1 -g -fno-omit-frame-pointer -fsanitize=address,undefined -fno-sanitize-recover=all
OPT_tsan    := -O1 -g -fsanitize=thread
OPT_fuzz    := -O1 -g -fsanitize=fuzzer-no-link,address,undefined -fno-sanitize-recover=all
OPT     := $(OPT_$(MODE))
# What can change a value: goes into the code version.
CODEGEN := -std=c17 $(OPT) -ffp-contract=off -fopenmp
CFLAGS  += $(CODEGEN) $(WARN) -D_GNU_SOURCE -DKVANT_VERSION='"$(VERSION)"' -DKVANT_PREFIX='"$(PREFIX)"' -I. -MMD -MP \
           $(shell pkg-config --cflags $(PKGS))
LDFLAGS += $(filter -fsanitize=% -fopenmp,$(subst fuzzer-no-link,fuzzer-no-link,$(CODEGEN)))
LDLIBS  += $(shell pkg-config --libs $(PKGS)) -ldnnl -lm

# Kernels carry their instruction set in the file's name; everything else is a portable baseline.
ISA_avx2   := -mavx2 -mfma -mf16c
ISA_avx512 := -mavx2 -mfma -mf16c -mavx512f -mavx512bw -mavx512vl -mavx512dq -mavx512vnni -mavx512vbmi

LIB_SRC  := harness/codec.c harness/params.c harness/nearest.c $(wildcard algorithms/*.c algorithms/shared/*.c metal/x86/*.c)
MAIN_SRC := harness/main.c $(wildcard harness/commands/*.c)
HARN_SRC := $(filter-out $(LIB_SRC) $(MAIN_SRC),$(wildcard harness/*.c harness/lm/*.c harness/probes/*.c datasets/*.c))
TEST_SRC := $(wildcard tests/test_*.c)
LIB_OBJ  := $(LIB_SRC:%.c=$(B)/%.o) $(B)/gen/quantizers.o
HARN_OBJ := $(HARN_SRC:%.c=$(B)/%.o) $(B)/gen/version.o $(B)/gen/schema.o
MAIN_OBJ := $(MAIN_SRC:%.c=$(B)/%.o) $(B)/gen/plugins.o
TESTS    := $(TEST_SRC:tests/%.c=$(B)/tests/%)

all: kvant

kvant: build/release/kvant
	cp -f $< $@.new && mv -f $@.new $@

$(B)/kvant: $(MAIN_OBJ) $(B)/libharness.a $(B)/libkvant.a
	$(CC) $(LDFLAGS) -o $@ $^ $(LDLIBS)

$(B)/libkvant.a: $(LIB_OBJ)
	@rm -f $@
	ar rcs $@ $^

$(B)/libharness.a: $(HARN_OBJ)
	@rm -f $@
	ar rcs $@ $^

# Plug-ins live in archives that nothing but the registry names, so tests that need them link gen/plugins.o too.
$(B)/tests/%: $(B)/tests/%.o $(filter-out $(B)/harness/main.o,$(MAIN_OBJ)) $(B)/libharness.a $(B)/libkvant.a
	$(CC) $(LDFLAGS) -o $@ $^ $(LDLIBS) -lcmocka

$(B)/%.o: %.c
	@mkdir -p $(@D)
	$(CC) $(CFLAGS) $(foreach i,avx2 avx512,$(if $(filter %_$(i),$*),$(ISA_$(i)))) -c -o $@ $<

$(B)/gen/%.o: $(B)/gen/%.c
	$(CC) $(CFLAGS) -c -o $@ $<

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
	$(call generate,embed schema_sql harness/schema.sql)

clean:
	rm -rf build kvant

.PHONY: all clean FORCE
.SECONDARY:
FORCE:

-include $(shell find $(B) -name '*.d' 2>/dev/null)
