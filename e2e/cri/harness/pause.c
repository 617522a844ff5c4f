/*
 * The first process of a pod sandbox: it holds the namespaces open until the runtime kills it (SIGKILL).
 * No C library, so that the image needs one file and the file is 1 KB.
 */
#if defined(__x86_64__)
static long wait_for_any_signal(void)
{
	long result;
	/* ppoll(NULL, 0, NULL, NULL) */
	register long sigmask __asm__("r10") = 0;
	__asm__ volatile("syscall"
			 : "=a"(result)
			 : "a"(271L), "D"(0L), "S"(0L), "d"(0L), "r"(sigmask)
			 : "rcx", "r11", "memory");
	return result;
}
#elif defined(__aarch64__)
static long wait_for_any_signal(void)
{
	/* ppoll(NULL, 0, NULL, NULL) */
	register long number __asm__("x8") = 73;
	register long fds __asm__("x0") = 0;
	register long count __asm__("x1") = 0;
	register long timeout __asm__("x2") = 0;
	register long sigmask __asm__("x3") = 0;
	__asm__ volatile("svc 0"
			 : "+r"(fds)
			 : "r"(number), "r"(count), "r"(timeout), "r"(sigmask)
			 : "memory");
	return fds;
}
#else
#error "pause.c knows the system calls of x86-64 and arm64"
#endif

void _start(void)
{
	for (;;)
		wait_for_any_signal();
}
