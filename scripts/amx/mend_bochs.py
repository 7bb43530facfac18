"""Mends Bochs where it keeps programs from using AMX. Usage: mend_bochs.py FOLDER_CPU

Each mend follows the Intel 64 and IA-32 Architectures Software Developer's Manual:
* extended feature disable (volume 1, 13.14), without which Linux leaves tiles alone;
* TDPBSSD multiplies signed bytes, here unsigned ones;
* VCVTNE2PS2BF16 takes the upper half of its result from the first source, here from beyond it;
* EVEX.V' is a bit of an index vector's number (2.7), here an operand that must not be there.
"""

import os
import sys
from pathlib import Path

os.chdir(sys.argv[1])


def replace(path, *pairs):
    path = Path(path)
    text = path.read_text(encoding="latin-1")
    for old, new in pairs:
        if old not in text:
            raise SystemExit(f"{path}: not the version that is mended here: {old.strip()!r}")
        text = text.replace(old, new, 1)
    path.write_text(text, encoding="latin-1")


def inside(path, begin, old, new):
    """Replaces all `old` in the function that begins so."""
    path = Path(path)
    head, function, rest = path.read_text(encoding="latin-1").partition(begin)
    body, end, tail = rest.partition("\n}\n")
    if old not in body:
        raise SystemExit(f"{path}: not the version that is mended here: {begin!r}")
    path.write_text(head + function + body.replace(old, new) + end + tail, encoding="latin-1")


TILE_DATA = 18  # the state component
MASK = f"BX_CONST64({1 << TILE_DATA:#x})"

replace(
    "cpuid.cc",
    ("leaf->eax |= (1<<3);\n\n    // EBX[31:00] - The size",
     "leaf->eax |= (1<<3);\n    if (is_cpu_extension_supported(BX_ISA_AMX)) leaf->eax |= (1<<4);\n"
     "\n    // EBX[31:00] - The size"),
    ("leaf->ecx = xsave_restore[subfunction].attr;",
     "leaf->ecx = xsave_restore[subfunction].attr;\n"
     f"      if (subfunction == {TILE_DATA}) leaf->ecx |= BX_XSAVE_XFD_SUPPORT;"),
)
replace(
    "msr.cc",
    ("#define LOG_THIS", "extern Bit64u amx_xfd, amx_xfd_error;\n#define LOG_THIS"),
    ("  msr_desc[BX_MSR_XSS] =",
     "".join(f'  msr_desc[{msr}] = new MSR_Descriptor("{msr}", BX_ISA_AMX, ~{MASK});\n'
             for msr in ("BX_MSR_IA32_XFD", "BX_MSR_IA32_XFD_ERROR"))
     + "  msr_desc[BX_MSR_XSS] ="),
    ("    case BX_MSR_XSS:\n",
     "    case BX_MSR_IA32_XFD: val64 = amx_xfd; break;\n"
     "    case BX_MSR_IA32_XFD_ERROR: val64 = amx_xfd_error; break;\n"
     "    case BX_MSR_XSS:\n"),
    ("    case BX_MSR_XSS: // reserved",
     "    case BX_MSR_IA32_XFD: amx_xfd = val_64; break;\n"
     "    case BX_MSR_IA32_XFD_ERROR: amx_xfd_error = val_64; break;\n"
     "    case BX_MSR_XSS: // reserved"),
)
RAISE = """  if (amx_xfd != 0) {
    amx_xfd_error = amx_xfd;
    exception(BX_NM_EXCEPTION, 0);
  }
"""
replace(
    "avx/amx.cc",
    ('#include "amx.h"\n', '#include "amx.h"\n\nBit64u amx_xfd = 0, amx_xfd_error = 0;\n'),
    *((f"{function}\n{{\n", f"{function}\n{{\n{RAISE}")
      for function in ("BX_CPU_C::TILEZERO_Tnnn(bxInstruction_c *i)",
                       "BX_CPU_C::check_tile(bxInstruction_c *i, unsigned tile_num)")),
)
inside("avx/amx.cc", "Bit32u DPBDSS(", "Bit8u", "Bit8s")
inside("avx/avx512_bf16.cc", "VCVTNE2PS2BF16_MASK_VphHpsWpsR(", "op1.vmm32u(n)",
       "op1.vmm32u(n - DWORD_ELEMENTS(len))")
replace("decoder/fetchdecode32.cc",
        ("i->setSibIndex(i->sibIndex() | (vvv & 0x10));",
         "i->setSibIndex(i->sibIndex() | (vvv & 0x10));\n      vvv &= 0xf;"))
