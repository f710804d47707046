# SPDX-License-Identifier: Apache-2.0
# A boot sector that counts in the first four bytes of the next sector of its disk, again and again, and tells the number on
# its serial line, in eight hexadecimal digits.
.code16
start:
    cli
    xor %ax, %ax
    mov %ax, %ds
    mov %ax, %es
    mov %ax, %ss
    mov $0x7c00, %sp
    sti
    mov %dl, drive
again:
    mov $0x0201, %ax            # read a sector
    call sector
    incl 0x8000
    mov $0x0301, %ax            # write it
    call sector
    mov 0x8000, %ecx
    mov $8, %bp
digit:
    rol $4, %ecx
    mov %cl, %al
    and $15, %al
    add $'0', %al
    cmp $'9', %al
    jbe tell
    add $39, %al
tell:
    mov $0x3f8, %dx
    out %al, %dx
    dec %bp
    jnz digit
    mov $10, %al
    out %al, %dx
    hlt                         # until the next tick of the timer
    jmp again
sector:
    mov $0x0002, %cx
    xor %dx, %dx
    mov drive, %dl
    mov $0x8000, %bx
    int $0x13
    ret
drive:
    .byte 0
.org 510
    .word 0xaa55
