# SPDX-License-Identifier: GPL-2.0
#
# Entry points for people who build kernels; `cargo xtask --help` has all of them.
#
#   make LINUX=/path/to/linux overlay      put this project's kernel files over that tree
#   make [LINUX=/path] [IMPL=c] kernel     build a kernel, print the path of its image
#   make [LINUX=/path] [IMPL=c] image      print that path again
#   make [LINUX=/path] tree                print the path of an overlaid copy of the tree
#   make [LINUX=/path] vm-test             boot it and run the tests
#   make LINUX=/path menuconfig            configure that tree, with its own tools
#   make shell                             a shell with compilers and QEMU

IMPL    ?= rust
PROFILE ?= release

xtask := cargo xtask
linux := $(if $(LINUX),--linux $(LINUX))

.PHONY: help overlay kernel image tree vm-test menuconfig shell

help:
	@sed -n 's/^#   //p' $(MAKEFILE_LIST)

overlay menuconfig: need-linux

.PHONY: need-linux
need-linux:
	@test -n '$(LINUX)' || { echo 'say which tree: make LINUX=/path/to/linux $(MAKECMDGOALS)' >&2; exit 2; }

overlay:
	$(xtask) kernel overlay $(linux)

kernel:
	$(xtask) kernel build --impl $(IMPL) --profile $(PROFILE) $(linux)

image:
	@$(xtask) kernel image --impl $(IMPL) --profile $(PROFILE) $(linux)

tree:
	@$(xtask) kernel tree $(linux)

vm-test:
	$(xtask) vm-test --profile $(PROFILE) $(linux)

menuconfig:
	$(MAKE) -C $(LINUX) KBUILD_KCONFIG=$(CURDIR)/Kconfig LLVM=1 menuconfig

shell:
	$(xtask) kernel shell
