"""Build the null GPU, a CUDA whose kernels do nothing: README.md here says what it can show.

Every function of CUDA, cuBLAS, cuDNN, … that this torch refers to is defined: those of null_gpu.c
as it says, the others as stubs that count the call and report success.
"""

import re
import shutil
import subprocess
import sysconfig
from pathlib import Path

import torch

SOURCE = Path(__file__).with_name("null_gpu.c")
SITE = Path(sysconfig.get_paths()["purelib"])
HEADERS = SITE / "triton" / "backends" / "nvidia" / "include"
LIBRARIES = (
    r"(__cuda|cuda[A-Z]|cublas|cudnn|cufft|curand|cusparse|cusolver|nccl|nvrtc|cuFile|cupti)"
)
LIBRARIES += r"|nvJitLink|nvshmem"
MAKES_HANDLE = r"(cudnnCreate|cublasCreate|cublasLtMatrixLayoutCreate|cuda(Stream|Event)Create"
MAKES_HANDLE += r"|cusolver.*Create|cusparse.*Create|curandC)"
DEFINED = r"^(?:cudaError_t|const char|size_t|int|unsigned|void|char) \**(\w+)\("
DRIVER = """
#include <dlfcn.h>
#include <stdlib.h>
static long handle[512];
long nullcu_launches;
int cuDriverGetVersion(int *v) { *v = 13000; return 0; }
int cuCtxGetCurrent(void **c) { *c = handle; return 0; }
int cuCtxGetDevice(int *d) { *d = 0; return 0; }
int cuDeviceGet(int *d, int i) { *d = i; return 0; }
int cuDeviceGetCount(int *n) { *n = 1; return 0; }
int cuDevicePrimaryCtxGetState(int d, unsigned *f, int *a) { *f = 0; *a = 1; return 0; }
int cuDevicePrimaryCtxRetain(void **c, int d) { *c = handle; return 0; }
int cuModuleLoadData(void **m, const void *d) { *m = handle; return 0; }
int cuModuleLoad(void **m, const char *d) { *m = handle; return 0; }
int cuModuleGetFunction(void **f, void *m, const char *n) { *f = handle; return 0; }
int cuFuncGetAttribute(int *v, int a, void *f) { *v = a == 0 ? 1024 : 0; return 0; }
int cuLaunchKernel() { nullcu_launches++; return 0; }
int cuLaunchKernelEx() { nullcu_launches++; return 0; }
int cuGetErrorString(int e, const char **s) { *s = "null"; return 0; }
int cuPointerGetAttribute(void *d, int a, unsigned long long p) {
  *(unsigned long long *)d = p;
  return 0;
}
int cuOccupancyMaxActiveClusters(int *n) { *n = 1; return 0; }
int cuGetProcAddress_v2(const char *s, void **f, int v, unsigned long long flags, int *status) {
  *f = dlsym((void *)0, s);
  if (status) *status = 0;
  return 0;
}
int cuDeviceGetAttribute(int *v, int attribute, int d) {
  switch (attribute) { /* an H100's */
    case 75: *v = 9; break; /* compute capability 9.0 */
    case 76: *v = 0; break;
    case 97: *v = 232448; break; /* shared memory of a block, bytes */
    case 8: *v = 49152; break;
    case 16: *v = 132; break; /* multiprocessors */
    case 10: *v = 32; break; /* threads of a warp */
    case 12: *v = 65536; break; /* registers of a block */
    case 1: *v = 1024; break; /* threads of a block */
    default: *v = 1;
  }
  return 0;
}
"""


def missing() -> str | None:
    """What keeps the null GPU from being built here, if anything does."""
    if not torch.version.cuda:
        return "expects a CUDA build of torch"
    if not (HEADERS / "cuda.h").exists():
        return "expects CUDA's headers, which Triton for Linux has"
    absent = [tool for tool in ("gcc", "nm") if not shutil.which(tool)]
    return f"expects {' and '.join(absent)}" if absent else None


def build(folder: Path) -> dict[str, str]:
    """Build it; the environment variables with which a Python process finds it."""
    special = set(re.findall(DEFINED, SOURCE.read_text(), re.MULTILINE))
    special = {name for name in special if not name.startswith("nullgpu")}
    names = sorted(_wanted() | special)
    (folder / "ids.h").write_text(
        "".join(f"#define ID_{name} {number}\n" for number, name in enumerate(names))
        + f"#define NIDS {len(names)}\n"
    )
    listed = ",".join(f'"{name}"' for name in names)
    lines = [
        '#include "ids.h"',
        "#include <stdlib.h>",
        "extern long nullgpu_hits[NIDS];",
        f"const char* nullgpu_names[NIDS]={{{listed}}};",
    ]
    for name in names:
        if name in special:
            continue
        if re.match(MAKES_HANDLE, name):
            signature, act = f"int {name}(void** p)", "*p = calloc(1, 4096);"
        else:
            signature, act = f"int {name}()", ""
        lines.append(f"{signature} {{ nullgpu_hits[ID_{name}]++; {act} return 0; }}")
    (folder / "stubs.c").write_text("\n".join(lines))
    library = folder / "libnullgpu.so"
    nvidia = [f"-I{path}" for path in (SITE / "nvidia").glob("*/include")]
    _compile(library, SOURCE, folder / "stubs.c", f"-I{folder}", f"-I{HEADERS}", *nvidia)

    declared = re.findall(r"\bCUDAAPI (cu\w+)\s*\(", (HEADERS / "cuda.h").read_text())
    # Many are renamed to …_v2 by macros of cuda.h: a stub too many does no harm.
    driver = {name + version for name in declared for version in ("", "_v2")}
    driver -= set(re.findall(r"^int (cu\w+)\(", DRIVER, re.MULTILINE))
    stubs = "".join(f"int {name}() {{ return 0; }}\n" for name in sorted(driver))
    (folder / "cuda.c").write_text(DRIVER + stubs)
    _compile(folder / "libcuda.so.1", folder / "cuda.c", "-Wl,-soname,libcuda.so.1")
    return {
        "LD_PRELOAD": str(library),
        "LD_LIBRARY_PATH": str(folder),
        "TORCH_CUDNN_V8_API_DISABLED": "1",  # its plans come from tables that only cuDNN has
    }


def _wanted() -> set[str]:
    """The functions of these libraries that torch refers to and does not define."""
    names = set()
    for library in (SITE / "torch" / "lib").glob("*.so"):
        listed = subprocess.run(
            ["nm", "-D", "--undefined-only", library], capture_output=True, text=True, check=True
        )
        symbols = (line.split()[-1].partition("@")[0] for line in listed.stdout.splitlines())
        names |= {symbol for symbol in symbols if re.match(LIBRARIES, symbol)}
    return names


def _compile(library: Path, *arguments: str | Path) -> None:
    options = ["-O1", "-w", "-shared", "-fPIC", "-o", library, *arguments, "-ldl"]
    subprocess.run(["gcc", *options], check=True)
