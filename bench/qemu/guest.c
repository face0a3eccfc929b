/* The only program of the guest, started as its init: loads modules, brings up both network cards, then watches itself and tells
 * on the serial line, once a second and since the line before:
 *
 *   beat MAX_US COUNT   the largest gap between two turns of a loop that sleeps 1 ms, on the guest's clock, and how many turns
 *   disk READS BAD WRITES   whole disks read with O_DIRECT whose checksum was compared, how many differed, blocks written and read back
 *   ping CARD SENT ANSWERED MAX_US   echo requests to the host side of each card, every 10 ms
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <net/if.h>
#include <net/route.h>
#include <netinet/ip_icmp.h>
#include <poll.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

enum { BLOCK = 1 << 16, CARDS = 2, DISKS = 2 };
static const char *const card_names[CARDS] = {"eth0", "eth1"}, *const disk_names[DISKS] = {"/dev/sda", "/dev/vda"};
static _Atomic long beat_max, beats, reads, bad, writes, sent[CARDS], answered[CARDS], ping_max[CARDS];

static long now_us(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC_RAW, &t);
  return t.tv_sec * 1000000L + t.tv_nsec / 1000;
}

static void *beat(void *unused) {
  for (long last = now_us(); ; ) {
    usleep(1000);
    long at = now_us();
    if (at - last > beat_max) beat_max = at - last;
    last = at;
    beats++;
  }
}

/* Each 8 bytes of the first half of a disk are made of its number and their place; the host wrote them. */
static uint64_t word_at(uint64_t place, uint64_t seed) { return (place / 8 + 1) * 0x9e3779b97f4a7c15ull ^ seed; }

static int differs(const uint64_t *words, uint64_t place, uint64_t seed) {
  for (int i = 0; i < BLOCK / 8; i++)
    if (words[i] != word_at(place + 8 * i, seed)) return 1;
  return 0;
}

static void *disk(void *number) {
  long n = (long)number;
  int fd = open(disk_names[n], O_RDWR | O_DIRECT);
  uint64_t size = 0, *buffer = aligned_alloc(4096, BLOCK);
  if (fd < 0 || ioctl(fd, BLKGETSIZE64, &size)) { printf("fault no %s: %m\n", disk_names[n]); return 0; }
  for (uint64_t round = 1; ; round++) {
    for (uint64_t at = 0; at < size / 2; at += BLOCK)
      if (pread(fd, buffer, BLOCK, at) != BLOCK || differs(buffer, at, n)) bad++;
    reads++;
    for (uint64_t at = size / 2; at < size; at += BLOCK) {
      for (int i = 0; i < BLOCK / 8; i++) buffer[i] = word_at(at + 8 * i, n + round * 16);
      if (pwrite(fd, buffer, BLOCK, at) != BLOCK) bad++;
      memset(buffer, 0, BLOCK);
      if (pread(fd, buffer, BLOCK, at) != BLOCK || differs(buffer, at, n + round * 16)) bad++;
      writes++;
    }
    fsync(fd);
  }
}

static uint16_t sum(const uint16_t *p, int bytes) {
  uint32_t s = 0;
  for (int i = 0; i < bytes / 2; i++) s += p[i];
  s = (s >> 16) + (s & 0xffff);
  return ~(s + (s >> 16));
}

/* One request at a time; an answer that does not come within a second is a lost one. */
static void *ping(void *number) {
  long n = (long)number;
  int fd = socket(AF_INET, SOCK_RAW, IPPROTO_ICMP);
  setsockopt(fd, SOL_SOCKET, SO_BINDTODEVICE, card_names[n], strlen(card_names[n]) + 1);
  struct sockaddr_in to = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(0x0a000202 + (n << 8))};
  struct { struct icmphdr head; char filling[1000]; } request = {0};
  for (uint16_t sequence = 0; ; sequence++) {
    memset(&request.head, 0, sizeof request.head);
    request.head.type = ICMP_ECHO;
    request.head.un.echo.id = htons(n + 1);
    request.head.un.echo.sequence = sequence;
    memset(request.filling, sequence, sizeof request.filling);
    request.head.checksum = sum((uint16_t *)&request, sizeof request);
    long start = now_us();
    sent[n]++;
    sendto(fd, &request, sizeof request, 0, (struct sockaddr *)&to, sizeof to);
    for (;;) {
      struct pollfd p = {fd, POLLIN};
      long left = 1000 - (now_us() - start) / 1000;
      if (left <= 0 || poll(&p, 1, left) <= 0) break;
      char packet[2048];
      ssize_t got = recv(fd, packet, sizeof packet, 0);
      struct icmphdr *reply = (void *)(packet + 20);
      if (got < 28 || reply->type != ICMP_ECHOREPLY || reply->un.echo.id != htons(n + 1) ||
          reply->un.echo.sequence != sequence) continue;
      if (got == 20 + sizeof request && !memcmp(reply + 1, request.filling, sizeof request.filling)) answered[n]++;
      long took = now_us() - start;
      if (took > ping_max[n]) ping_max[n] = took;
      break;
    }
    usleep(10000);
  }
}

static void load_modules(void) {
  FILE *list = fopen("/modules", "r");
  char name[256];
  while (list && fgets(name, sizeof name, list)) {
    name[strcspn(name, "\n")] = 0;
    int fd = open(name, O_RDONLY);
    if (fd < 0 || syscall(SYS_finit_module, fd, "", 0)) printf("fault module %s: %m\n", name);
    close(fd);
  }
}

static void bring_up(int n) {
  int fd = socket(AF_INET, SOCK_DGRAM, 0);
  struct ifreq r = {0};
  struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(0x0a00020f + (n << 8))};
  strcpy(r.ifr_name, card_names[n]);
  memcpy(&r.ifr_addr, &a, sizeof a);
  if (ioctl(fd, SIOCSIFADDR, &r)) printf("fault address of %s: %m\n", card_names[n]);
  a.sin_addr.s_addr = htonl(0xffffff00);
  memcpy(&r.ifr_netmask, &a, sizeof a);
  ioctl(fd, SIOCSIFNETMASK, &r);
  r.ifr_flags = IFF_UP | IFF_RUNNING;
  if (ioctl(fd, SIOCSIFFLAGS, &r)) printf("fault %s does not come up: %m\n", card_names[n]);
  close(fd);
}

int main(void) {
  setvbuf(stdout, 0, _IOLBF, 0);
  mount("none", "/dev", "devtmpfs", 0, 0);
  mount("none", "/proc", "proc", 0, 0);
  load_modules();
  sleep(3);
  pthread_t t;
  for (long n = 0; n < CARDS; n++) {
    bring_up(n);
    pthread_create(&t, 0, ping, (void *)n);
  }
  for (long n = 0; n < DISKS; n++) pthread_create(&t, 0, disk, (void *)n);
  pthread_create(&t, 0, beat, 0);
  puts("up");
  for (;;) {
    sleep(1);
    printf("beat %ld %ld disk %ld %ld %ld", beat_max, beats, reads, bad, writes);
    for (int n = 0; n < CARDS; n++) printf(" ping %s %ld %ld %ld", card_names[n], sent[n], answered[n], ping_max[n]);
    puts("");
    beat_max = 0;
    for (int n = 0; n < CARDS; n++) ping_max[n] = 0;
  }
}
