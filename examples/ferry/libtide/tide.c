#define _USE_MATH_DEFINES
#define _DEFAULT_SOURCE
#include "tide.h"

#include <math.h>

/* The principal constituents of the moon and of the sun: amplitude in centimetres, period in hours. */
static const struct { double amplitude, period; } constituents[] = {
	{120.0, 12.4206012}, /* M2 */
	{40.0, 12.0},        /* S2 */
};

double tide_height(double hours)
{
	double height = 0;
	for (unsigned i = 0; i < sizeof constituents / sizeof *constituents; i++)
		height += constituents[i].amplitude * cos(2 * M_PI * hours / constituents[i].period);
	return height;
}

const char *tide_version(void) { return VERSION; }
