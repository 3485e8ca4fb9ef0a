/* convolution_peer.h: a convolution of another library, for convolutions.py. */
#ifndef NNC_CONVOLUTION_PEER_H
#define NNC_CONVOLUTION_PEER_H

typedef struct Shape { long batch, h, w, c, o, oh, ow, r, s, stride, pad, groups; } Shape;
typedef struct Peer Peer;
/* pass: 0 forward, 1 gradient of the weights, 2 gradient of the image.  Ends the process when the library refuses. */
Peer *peer_new(const Shape *shape, int pass);
void peer_run(Peer *peer);

#endif
