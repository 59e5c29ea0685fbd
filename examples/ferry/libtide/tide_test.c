#include "tide.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

static int failures;

static void near(double hours, double want)
{
	double got = tide_height(hours);
	if (fabs(got - want) > 0.5) {
		fprintf(stderr, "tide_height(%g) = %.1f, want %.1f\n", hours, got, want);
		failures++;
	}
}

int main(void)
{
	near(0, 160);      /* new moon: moon and sun pull together */
	near(6.1, -159.6); /* low water */
	near(173.9, 80.1); /* a week later they are at odds: a neap tide */
	if (strlen(tide_version()) == 0) {
		fprintf(stderr, "no version\n");
		failures++;
	}
	return failures != 0;
}
