/* What the library offers, and for `both` how much work it is. */
#define ROUNDS 200

struct both {
  unsigned long left, right;
};

long answer(long x);
struct both both(unsigned long x);
