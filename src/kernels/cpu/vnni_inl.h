// Tells the compiler of AVX512_VNNI where the target has it: Highway 1.0 asks the processor for
// avx512vnni, and then the compiler for avxvnni alone. Included once per target, inside
// foreach_target, after all that defines the target anew.

// Highway's way: a guard that admits the file once for each target.
#if defined(SLIM_KERNELS_CPU_VNNI_INL_H) == defined(HWY_TARGET_TOGGLE)
#ifdef SLIM_KERNELS_CPU_VNNI_INL_H
#undef SLIM_KERNELS_CPU_VNNI_INL_H
#else
#define SLIM_KERNELS_CPU_VNNI_INL_H
#endif

#if HWY_TARGET == HWY_AVX3_DL && HWY_MAJOR == 1 && HWY_MINOR == 0
#undef HWY_TARGET_STR
#define HWY_TARGET_STR \
  HWY_TARGET_STR_AVX3  \
  ",vpclmulqdq,avx512vbmi,avx512vbmi2,vaes,avxvnni,avx512bitalg,avx512vpopcntdq,avx512vnni"
#endif

#endif
