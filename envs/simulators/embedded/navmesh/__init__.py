"""Where a body can walk in a triangle mesh: a navigation mesh and the questions put to it.

The steps are Recast's and Detour's (Mikko Mononen, https://github.com/recastnavigation, zlib
licence), because habitat-sim answers with them and a walk recorded there must repeat here:
`voxels` (triangles to floor cells), `regions` (cells to regions), `contours` (regions to outlines),
`polygons` (outlines to convex polygons), `heights` (the floor's height within them, over triangles
that `triangulation` makes); then `walking` (snap, stand, step) and `geodesic` (shortest paths).
Written anew over flat arrays, in single precision where rounding decides; nothing here knows files,
rendering or episodes.
"""
