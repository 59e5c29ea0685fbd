#ifndef TIDE_H
#define TIDE_H

/* tide_height returns the height of the water in centimetres above the mean, so many hours after a new moon. */
double tide_height(double hours);

/* tide_version returns the version of this library. */
const char *tide_version(void);

#endif
