/* A CUDA without a GPU: memory is host memory, copies are real, kernels are counted by name and do
   nothing, and a stream that is being captured refuses to wait, as a real one does. build.py adds
   stubs for the functions that are not here. */
#define _GNU_SOURCE
#include <cuda_runtime_api.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <stdint.h>
#include <sys/mman.h>
#include <dlfcn.h>
#include "ids.h"
long nullgpu_hits[NIDS];
extern const char *nullgpu_names[NIDS];
#define HIT(n) nullgpu_hits[ID_##n]++
/* ---- kernels by name ---- */
#define CAP (1u << 20)
static struct {
  const void *f;
  const char *name;
  long n;
} table[CAP]; /* by the address on the host */
/* Where a kernel's entry is, or would be: at its hash, or behind those that have the same. */
static unsigned place(const void *f) {
  unsigned i = (((uint64_t)f * 0x9E3779B97F4A7C15ull) >> 40) & (CAP - 1);
  while (table[i].f && table[i].f != f)
    i = (i + 1) & (CAP - 1);
  return i;
}
static void put(const void *f, const char *n) {
  unsigned i = place(f);
  table[i].f = f;
  table[i].name = n;
}
static long launches, other;
static void (*hook)(const char *);
static int verbose;
void nullgpu_verbose(int v) { verbose = v; }
static void launch(const void *f) {
  unsigned i = place(f);
  launches++;
  if (hook && verbose) {
    char b[4096];
    snprintf(b, 4096, "launch %s", table[i].f ? table[i].name : "?");
    hook(b);
  }
  if (table[i].f)
    table[i].n++;
  else
    other++;
}
/* ordered log of syncs/copies: optional hook */
void nullgpu_hook(void (*h)(const char *)) { hook = h; }
static void event(const char *s) {
  if (hook)
    hook(s);
}
void nullgpu_reset() {
  memset(nullgpu_hits, 0, sizeof nullgpu_hits);
  launches = other = 0;
  for (unsigned i = 0; i < CAP; i++)
    table[i].n = 0;
}
void nullgpu_report(const char *path) {
  FILE *o = fopen(path, "w");
  fprintf(o, "LAUNCH %ld unknown %ld\n", launches, other);
  for (int i = 0; i < NIDS; i++)
    if (nullgpu_hits[i])
      fprintf(o, "API %ld %s\n", nullgpu_hits[i], nullgpu_names[i]);
  for (unsigned i = 0; i < CAP; i++)
    if (table[i].n)
      fprintf(o, "KERNEL %ld %s\n", table[i].n, table[i].name);
  fclose(o);
}
/* ---- memory ---- */
static struct {
  char *p;
  size_t n;
} maps[65536];
static int nmaps;
size_t nullgpu_mapped;
cudaError_t cudaMalloc(void **p, size_t n) {
  HIT(cudaMalloc);
  n = (n + 4095) & ~4095ull;
  if (!n)
    n = 4096;
  *p = mmap(0, n, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  maps[nmaps].p = *p;
  maps[nmaps++].n = n;
  nullgpu_mapped += n;
  return 0;
}
cudaError_t cudaMallocAsync(void **p, size_t n, cudaStream_t s) { return cudaMalloc(p, n); }
cudaError_t cudaFree(void *p) {
  HIT(cudaFree);
  for (int i = 0; i < nmaps; i++)
    if (maps[i].p == p) {
      munmap(p, maps[i].n);
      nullgpu_mapped -= maps[i].n;
      maps[i] = maps[--nmaps];
      break;
    }
  return 0;
}
cudaError_t cudaFreeAsync(void *p, cudaStream_t s) { return cudaFree(p); }
static int is_dev(const void *q) {
  for (int i = 0; i < nmaps; i++)
    if ((char *)q >= maps[i].p && (char *)q < maps[i].p + maps[i].n)
      return 1;
  return 0;
}
cudaError_t cudaMemGetInfo(size_t *f, size_t *t) {
  *t = 85ull << 30;
  *f = *t - nullgpu_mapped;
  return 0;
}
static char *pin[65536];
static int npin;
cudaError_t cudaHostAlloc(void **p, size_t n, unsigned f) {
  HIT(cudaHostAlloc);
  *p = calloc(1, n + 64);
  pin[npin++] = *p;
  return 0;
}
cudaError_t cudaPointerGetAttributes(struct cudaPointerAttributes *a, const void *p) {
  memset(a, 0, sizeof *a);
  a->type = is_dev(p) ? 2 : 0;
  for (int i = 0; i < npin; i++)
    if (pin[i] == p)
      a->type = 1;
  a->devicePointer = (void *)p;
  return 0;
}
static void copied(const void *d, const void *s, size_t n, const char *what) {
  char b[128];
  int dd = is_dev(d), ss = is_dev(s);
  snprintf(b, 128, "%s %s2%s %zu", what, ss ? "D" : "H", dd ? "D" : "H", n);
  event(b);
}
cudaError_t cudaMemcpyAsync(void *d, const void *s, size_t n, enum cudaMemcpyKind k,
                            cudaStream_t st) {
  HIT(cudaMemcpyAsync);
  copied(d, s, n, "memcpyAsync");
  memcpy(d, s, n);
  return 0;
}
cudaError_t cudaMemcpy(void *d, const void *s, size_t n, enum cudaMemcpyKind k) {
  HIT(cudaMemcpy);
  copied(d, s, n, "memcpy");
  memcpy(d, s, n);
  return 0;
}
cudaError_t cudaMemcpy2DAsync(void *d, size_t dp, const void *s, size_t sp, size_t w, size_t h,
                              enum cudaMemcpyKind k, cudaStream_t st) {
  HIT(cudaMemcpy2DAsync);
  copied(d, s, w * h, "memcpy2D");
  for (size_t i = 0; i < h; i++)
    memcpy((char *)d + i * dp, (char *)s + i * sp, w);
  return 0;
}
cudaError_t cudaMemsetAsync(void *d, int v, size_t n, cudaStream_t s) {
  HIT(cudaMemsetAsync);
  event("memset");
  memset(d, v, n);
  return 0;
}
cudaError_t cudaMemset(void *d, int v, size_t n) {
  HIT(cudaMemset);
  memset(d, v, n);
  return 0;
}
/* ---- device ---- */
cudaError_t cudaGetDeviceCount(int *n) {
  *n = 1;
  return 0;
}
cudaError_t cudaSetDevice(int d) { return d < 0 || d > 0 ? cudaErrorInvalidDevice : 0; }
cudaError_t cudaGetDevice(int *n) {
  *n = 0;
  return 0;
}
cudaError_t cudaDriverGetVersion(int *v) {
  *v = 13000;
  return 0;
}
cudaError_t cudaRuntimeGetVersion(int *v) {
  *v = 13000;
  return 0;
}
cudaError_t cudaGetDeviceProperties(struct cudaDeviceProp *p, int d) {
  memset(p, 0, sizeof *p);
  strcpy(p->name, "Null H100");
  p->totalGlobalMem = 85ull << 30;
  p->sharedMemPerBlock = 49152;
  p->regsPerBlock = 65536;
  p->warpSize = 32;
  p->memPitch = 2147483647;
  p->maxThreadsPerBlock = 1024;
  p->maxThreadsDim[0] = p->maxThreadsDim[1] = 1024;
  p->maxThreadsDim[2] = 64;
  p->maxGridSize[0] = 2147483647;
  p->maxGridSize[1] = p->maxGridSize[2] = 65535;
  p->totalConstMem = 65536;
  p->major = 9;
  p->minor = 0;
  p->multiProcessorCount = 132;
  p->l2CacheSize = 50 << 20;
  p->maxThreadsPerMultiProcessor = 2048;
  p->sharedMemPerMultiprocessor = 233472;
  p->regsPerMultiprocessor = 65536;
  p->sharedMemPerBlockOptin = 232448;
  p->reservedSharedMemPerBlock = 1024;
  p->maxBlocksPerMultiProcessor = 32;
  p->concurrentKernels = 1;
  p->unifiedAddressing = 1;
  p->cooperativeLaunch = 1;
  return 0;
}
cudaError_t cudaDeviceGetAttribute(int *v, enum cudaDeviceAttr a, int d) {
  switch ((int)a) {
  case cudaDevAttrMaxSharedMemoryPerBlockOptin:
    *v = 232448;
    break;
  case cudaDevAttrMultiProcessorCount:
    *v = 132;
    break;
  case cudaDevAttrComputeCapabilityMajor:
    *v = 9;
    break;
  case cudaDevAttrComputeCapabilityMinor:
    *v = 0;
    break;
  case cudaDevAttrMaxThreadsPerBlock:
    *v = 1024;
    break;
  case cudaDevAttrWarpSize:
    *v = 32;
    break;
  default:
    *v = 1;
  }
  return 0;
}
cudaError_t cudaDeviceGetStreamPriorityRange(int *l, int *g) {
  *l = 0;
  *g = -5;
  return 0;
}
cudaError_t cudaDeviceGetPCIBusId(char *p, int n, int d) {
  strcpy(p, "0000:00:00.0");
  return 0;
}
cudaError_t cudaDeviceCanAccessPeer(int *v, int a, int b) {
  *v = 0;
  return 0;
}
cudaError_t cudaFuncGetAttributes(struct cudaFuncAttributes *a, const void *f) {
  memset(a, 0, sizeof *a);
  a->maxThreadsPerBlock = 1024;
  a->numRegs = 64;
  a->binaryVersion = 90;
  a->ptxVersion = 90;
  a->maxDynamicSharedSizeBytes = 232448;
  return 0;
}
cudaError_t cudaOccupancyMaxActiveBlocksPerMultiprocessor(int *n, const void *f, int b, size_t s) {
  *n = 2;
  return 0;
}
cudaError_t cudaOccupancyMaxActiveBlocksPerMultiprocessorWithFlags(int *n, const void *f, int b,
                                                                   size_t s, unsigned fl) {
  *n = 2;
  return 0;
}
const char *cudaGetErrorString(cudaError_t e) {
  return e == 101   ? "invalid device ordinal"
         : e == 900 ? "operation not permitted when stream is capturing"
                    : "null";
}
const char *cudaGetErrorName(cudaError_t e) { return "null"; }
/* ---- streams, events ---- */
static long dummy[64];
cudaError_t cudaEventElapsedTime(float *t, cudaEvent_t a, cudaEvent_t b) {
  *t = 1;
  return 0;
}
static int capturing;
static cudaStream_t cap;
static unsigned long long capid;
long nullgpu_captured;
static long cap_start;
long nullgpu_graph_launches;
cudaError_t cudaStreamBeginCapture(cudaStream_t s, enum cudaStreamCaptureMode m) {
  capturing = 1;
  cap = s;
  capid++;
  cap_start = launches;
  return 0;
}
cudaError_t cudaStreamEndCapture(cudaStream_t s, cudaGraph_t *g) {
  capturing = 0;
  nullgpu_captured = launches - cap_start;
  *g = (cudaGraph_t)calloc(1, 64);
  return 0;
}
cudaError_t cudaGraphInstantiateWithFlags(cudaGraphExec_t *e, cudaGraph_t g, unsigned long long f) {
  *e = (cudaGraphExec_t)calloc(1, 64);
  return 0;
}
cudaError_t cudaGraphGetNodes(cudaGraph_t g, cudaGraphNode_t *n, size_t *c) {
  *c = nullgpu_captured;
  return 0;
}
cudaError_t cudaGraphLaunch(cudaGraphExec_t e, cudaStream_t s) {
  nullgpu_graph_launches++;
  return 0;
}
cudaError_t cudaStreamIsCapturing(cudaStream_t s, enum cudaStreamCaptureStatus *c) {
  *c = (capturing && s == cap) ? 1 : 0;
  return 0;
}
cudaError_t cudaStreamGetCaptureInfo(cudaStream_t s, enum cudaStreamCaptureStatus *c,
                                     unsigned long long *id, cudaGraph_t *g,
                                     const cudaGraphNode_t **d, const cudaGraphEdgeData **e,
                                     size_t *n) {
  *c = (capturing && s == cap) ? 1 : 0;
  if (id)
    *id = capturing ? capid : 0;
  if (g)
    *g = (cudaGraph_t)dummy;
  if (n)
    *n = 0;
  return 0;
}
cudaError_t cudaStreamGetPriority(cudaStream_t s, int *p) {
  *p = 0;
  return 0;
}
cudaError_t cudaStreamSynchronize(cudaStream_t s) {
  HIT(cudaStreamSynchronize);
  event(capturing && s != cap ? "streamSynchronize (other stream)" : "streamSynchronize");
  return capturing && s == cap ? 900 : 0;
}
cudaError_t cudaDeviceSynchronize() {
  HIT(cudaDeviceSynchronize);
  event("deviceSynchronize");
  return capturing ? 900 : 0;
}
cudaError_t cudaEventSynchronize(cudaEvent_t e) {
  HIT(cudaEventSynchronize);
  event("eventSynchronize");
  return capturing ? 900 : 0;
}
/* ---- launches ---- */
cudaError_t cudaLaunchKernel(const void *f, dim3 g, dim3 b, void **a, size_t s, cudaStream_t st) {
  launch(f);
  return 0;
}
cudaError_t __cudaLaunchKernel(cudaKernel_t f, dim3 g, dim3 b, void **a, size_t s,
                               cudaStream_t st) {
  launch(f);
  return 0;
}
cudaError_t cudaLaunchKernelExC(const cudaLaunchConfig_t *c, const void *f, void **a) {
  launch(f);
  return 0;
}
cudaError_t cudaLaunchCooperativeKernel(const void *f, dim3 g, dim3 b, void **a, size_t s,
                                        cudaStream_t st) {
  launch(f);
  return 0;
}
cudaError_t __cudaPopCallConfiguration(dim3 *g, dim3 *b, size_t *s, void *st) {
  memset(g, 0, sizeof *g);
  memset(b, 0, sizeof *b);
  *s = 0;
  *(void **)st = 0;
  return 0;
}
cudaError_t __cudaGetKernel(cudaKernel_t *k, const void *f) {
  *k = (cudaKernel_t)f;
  return 0;
}
void **__cudaRegisterFatBinary(void *f) { return (void **)dummy; }
char __cudaInitModule(void **f) { return 1; }
void __cudaRegisterFunction(void **h, const char *host, char *dev, const char *name, int tl,
                            void *a, void *b, void *c, void *d, int *w) {
  put(host, name);
}
cudaError_t cudaGetSymbolAddress(void **p, const void *s) {
  *p = calloc(1, 1 << 20);
  return 0;
}
int cuDevicePrimaryCtxGetState(int d, unsigned *f, int *a) {
  *f = 0;
  *a = 1;
  return 0;
}
int nullgpu_zero() { return 0; }
cudaError_t cudaGetDriverEntryPointByVersion(const char *s, void **f, unsigned v,
                                             unsigned long long fl,
                                             enum cudaDriverEntryPointQueryResult *r) {
  void *p = dlsym(RTLD_DEFAULT, s);
  *f = p ? p : (void *)nullgpu_zero;
  if (r)
    *r = 0;
  return 0;
}
/* ---- cuBLAS ---- */
int cublasGetMathMode(void *h, int *m) {
  *m = 0;
  return 0;
}
int cublasGetPointerMode_v2(void *h, int *m) {
  *m = 0;
  return 0;
}
size_t cublasLtGetVersion() { return 130100; }
int cublasLtMatmulDescCreate(void **d) {
  *d = calloc(1, 4096);
  return 0;
}
int cublasLtMatmulPreferenceCreate(void **d) {
  *d = calloc(1, 4096);
  return 0;
}
int cublasLtMatmulAlgoGetHeuristic(void *h, void *op, void *a, void *b, void *c, void *d,
                                   void *pref, int n, void *res, int *got) {
  memset(res, 0, 64);
  *got = 1;
  return 0;
}
/* ---- cuDNN ---- */
size_t cudnnGetVersion() { return 92400; }
size_t cudnnGetCudartVersion() { return 13000; }
size_t cudnnGetMaxDeviceVersion() { return 1200; }
const char *cudnnGetErrorString(int e) { return "null"; }
typedef struct {
  int algo;
  int status;
  float time;
  size_t memory;
  int determinism;
  int math;
  int reserved[3];
} perf_t;
static int perf(int n, int *got, perf_t *p) {
  memset(p, 0, sizeof *p);
  p->algo = 1;
  p->determinism = 1;
  p->math = 3;
  *got = 1;
  return 0;
}
int cudnnGetConvolutionForwardAlgorithm_v7(void *h, void *x, void *w, void *c, void *y, int n,
                                           int *got, perf_t *p) {
  return perf(n, got, p);
}
int cudnnGetConvolutionBackwardDataAlgorithm_v7(void *h, void *x, void *w, void *c, void *y, int n,
                                                int *got, perf_t *p) {
  return perf(n, got, p);
}
int cudnnGetConvolutionBackwardFilterAlgorithm_v7(void *h, void *x, void *w, void *c, void *y,
                                                  int n, int *got, perf_t *p) {
  return perf(n, got, p);
}
int cudnnGetConvolutionForwardWorkspaceSize(void *h, void *a, void *b, void *c, void *d, int algo,
                                            size_t *s) {
  *s = 0;
  return 0;
}
int cudnnGetConvolutionBackwardDataWorkspaceSize(void *h, void *a, void *b, void *c, void *d,
                                                 int algo, size_t *s) {
  *s = 0;
  return 0;
}
int cudnnGetConvolutionBackwardFilterWorkspaceSize(void *h, void *a, void *b, void *c, void *d,
                                                   int algo, size_t *s) {
  *s = 0;
  return 0;
}
int cudnnGetBatchNormalizationForwardTrainingExWorkspaceSize(void *h, int mode, int ops, void *x,
                                                             void *z, void *y, void *bn, void *act,
                                                             size_t *s) {
  *s = 0;
  return 0;
}
int cudnnGetBatchNormalizationTrainingExReserveSpaceSize(void *h, int mode, int ops, void *act,
                                                         void *x, size_t *s) {
  *s = 0;
  return 0;
}
int cudnnGetBatchNormalizationBackwardExWorkspaceSize(void *h, int mode, int ops, void *x, void *y,
                                                      void *dy, void *dz, void *dx, void *bn,
                                                      void *act, size_t *s) {
  *s = 0;
  return 0;
}
int cufftXtMakePlanMany(int p, int r, void *n, void *ie, long long is, long long id, int it,
                        void *oe, long long os, long long od, int ot, long long b, size_t *ws,
                        int et) {
  HIT(cufftXtMakePlanMany);
  if (ws)
    *ws = 0;
  return 0;
}
int cufftCreate(int *p) {
  *p = 1;
  return 0;
}
int cudnnGetProperty(int type, int *v) {
  *v = type == 0 ? 9 : type == 1 ? 24 : 0;
  return 0;
}
