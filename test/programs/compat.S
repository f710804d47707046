# SPDX-License-Identifier: Apache-2.0
# A 32-bit program that sleeps: cc -m32 -nostdlib -static
.globl _start
_start:
    mov $162, %eax              # nanosleep
    mov $second, %ebx
    xor %ecx, %ecx
    int $0x80
    jmp _start
second:
    .long 1, 0
.section .note.GNU-stack, "", @progbits
