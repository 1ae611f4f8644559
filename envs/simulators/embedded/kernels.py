"""Warp's kernels: rays against triangles and the shading of `shading`, one thread a pixel.

Not checked by mypy: Warp reads the annotations, in a language of its own.
"""

import warp as wp

from envs.simulators.embedded.coincident import SAME_PLANE
from envs.simulators.embedded.embree import MOST_BACK_FACES, STEP
from envs.simulators.embedded.parts import CLAMP, MIRROR, NEAREST_MIP, NO_MIPS
from envs.simulators.embedded.rays import FAR, NEAR

wp.set_module_options({"enable_backward": False})  # nothing is differentiated through images

NEAR_PLANE = wp.constant(float(NEAR))
FAR_PLANE = wp.constant(float(FAR))
BACK_FACE_STEP = wp.constant(float(STEP))
PLANE = wp.constant(float(SAME_PLANE))
BACK_FACES = wp.constant(int(MOST_BACK_FACES))
CLAMPED, MIRRORED = wp.constant(CLAMP), wp.constant(MIRROR)
WITHOUT_MIPS, NEAREST_LEVEL = wp.constant(NO_MIPS), wp.constant(NEAREST_MIP)


@wp.struct
class Triangles:
    mesh: wp.uint64
    points: wp.array(dtype=wp.vec3)
    corners: wp.array(dtype=wp.int32)  # [3 F]
    uv: wp.array(dtype=wp.vec2)
    texture: wp.array(dtype=wp.int16)
    identity: wp.array(dtype=wp.int32)
    side: wp.array(dtype=wp.int8)  # as in `coincident`
    against: wp.uint64  # mesh of the faces of side 1
    along: wp.uint64  # mesh of those of side 2
    against_face: wp.array(dtype=wp.int32)  # which faces they are
    along_face: wp.array(dtype=wp.int32)


@wp.struct
class Paint:
    face: wp.array2d(dtype=wp.uint8)
    vertex: wp.array2d(dtype=wp.uint8)
    texels: wp.array2d(dtype=wp.uint8)
    level: wp.array3d(dtype=wp.int32)
    levels: wp.array(dtype=wp.int32)
    sampler: wp.array2d(dtype=wp.int32)


@wp.struct
class Hit:
    depth: float
    face: int
    a: float  # weights of the three corners
    b: float
    c: float


@wp.func
def first_hit(triangles: Triangles, origin: wp.vec3, direction: wp.vec3):
    """The first front face; `direction` is as long as one metre of depth."""
    hit = Hit()
    hit.face = -1
    start = float(NEAR_PLANE)
    for _ in range(BACK_FACES + 1):
        query = wp.mesh_query_ray(
            triangles.mesh, origin + start * direction, direction, FAR_PLANE - start
        )
        if not query.result:
            return hit
        if wp.dot(query.normal, direction) <= 0.0:
            hit.depth = start + query.t
            hit.face = query.face
            hit.a = query.u
            hit.b = query.v
            hit.c = 1.0 - query.u - query.v
            return hit
        depth = start + query.t
        side = int(triangles.side[query.face])
        if side > 0:  # a face that looks the other way may lie in the same plane
            back = wp.max(depth - PLANE, float(NEAR_PLANE))
            opposite = triangles.along
            if side == 2:
                opposite = triangles.against
            twin = wp.mesh_query_ray(opposite, origin + back * direction, direction, 2.0 * PLANE)
            if twin.result and wp.dot(twin.normal, direction) <= 0.0:
                hit.depth = back + twin.t
                if side == 2:
                    hit.face = triangles.against_face[twin.face]
                else:
                    hit.face = triangles.along_face[twin.face]
                hit.a = twin.u
                hit.b = twin.v
                hit.c = 1.0 - twin.u - twin.v
                return hit
        start = depth + BACK_FACE_STEP * (1.0 + depth)
    return hit


@wp.func
def texture_place(triangles: Triangles, hit: Hit):
    first = triangles.corners[3 * hit.face]
    second = triangles.corners[3 * hit.face + 1]
    third = triangles.corners[3 * hit.face + 2]
    return hit.a * triangles.uv[first] + hit.b * triangles.uv[second] + hit.c * triangles.uv[third]


@wp.func
def level_of_detail(
    triangles: Triangles,
    hit: Hit,
    ray: wp.vec3,
    first_ray: wp.vec3,
    across: wp.vec3,
    up: wp.vec3,
    size: wp.vec2,
):
    """log2 of the texels between a pixel and the next, in squares of two by two, as in `shading`.

    `first_ray` is the ray of the square's lower left pixel.
    """
    first = triangles.corners[3 * hit.face]
    second = triangles.corners[3 * hit.face + 1]
    third = triangles.corners[3 * hit.face + 2]
    edge = triangles.points[second] - triangles.points[first]
    other = triangles.points[third] - triangles.points[first]
    normal = wp.cross(edge, other)
    square = wp.dot(normal, normal)
    slope = wp.dot(normal, ray)
    if square == 0.0 or slope == 0.0:
        return 0.0
    second_grows = wp.cross(other, normal) / square
    third_grows = wp.cross(normal, edge) / square
    along_second = wp.cw_mul(triangles.uv[second] - triangles.uv[first], size)
    along_third = wp.cw_mul(triangles.uv[third] - triangles.uv[first], size)
    longest = float(0.0)  # noqa: UP018 - a variable for Warp, not a constant
    start = wp.vec2(0.0, 0.0)
    for corner in range(3):
        beside = first_ray
        if corner == 1:
            beside = first_ray + across
        if corner == 2:
            beside = first_ray + up
        towards = wp.dot(normal, beside)
        if towards == 0.0:
            return 0.0
        moved = hit.depth * (beside * (slope / towards) - ray)
        texels = wp.dot(second_grows, moved) * along_second
        texels += wp.dot(third_grows, moved) * along_third
        if corner == 0:
            start = texels
        longest = wp.max(longest, wp.dot(texels - start, texels - start))
    if longest <= 1.0:
        return 0.0
    return 0.5 * wp.log2(longest)


@wp.func
def texel_number(number: int, size: int, wrap: int):
    """The texel in place of one that may be beyond the border, as in `shading`."""
    if wrap == CLAMPED:
        return wp.clamp(number, 0, size - 1)
    if wrap == MIRRORED:
        turned_back = ((number % (2 * size)) + 2 * size) % (2 * size)
        return wp.min(turned_back, 2 * size - 1 - turned_back)
    return ((number % size) + size) % size


@wp.func
def sampled(paint: Paint, texture: int, place: wp.vec2, lod: float):
    across = paint.sampler[texture, 0]
    along = paint.sampler[texture, 1]
    linear = paint.sampler[texture, 2]
    if lod > 0.0:
        linear = paint.sampler[texture, 3]
    mips = paint.sampler[texture, 4]
    detail = wp.min(lod, float(paint.levels[texture] - 1))
    if mips == WITHOUT_MIPS:
        detail = 0.0
    if mips == NEAREST_LEVEL:
        detail = wp.floor(detail + 0.5)
    low = int(detail)
    share = detail - float(low)
    colour = wp.vec3(0.0, 0.0, 0.0)
    for step in range(2):
        weight = 1.0 - share
        if step == 1:
            weight = share
        if weight > 0.0:
            start = paint.level[texture, low + step, 0]
            width = paint.level[texture, low + step, 1]
            height = paint.level[texture, low + step, 2]
            x = place[0] * float(width)
            y = place[1] * float(height)
            if linear != 0:
                x -= 0.5
                y -= 0.5
            left = int(wp.floor(x))
            top = int(wp.floor(y))
            for corner in range(4):
                right = corner % 2
                below = corner // 2
                part = weight
                if linear != 0:
                    if right == 1:
                        part *= x - float(left)
                    else:
                        part *= 1.0 - (x - float(left))
                    if below == 1:
                        part *= y - float(top)
                    else:
                        part *= 1.0 - (y - float(top))
                elif corner > 0:
                    part = 0.0
                line = texel_number(top + below, height, along)
                column = texel_number(left + right, width, across)
                texel = start + line * width + column
                colour += part * wp.vec3(
                    float(paint.texels[texel, 0]),
                    float(paint.texels[texel, 1]),
                    float(paint.texels[texel, 2]),
                )
    return colour


@wp.func
def shaded(
    triangles: Triangles,
    paint: Paint,
    hit: Hit,
    ray: wp.vec3,
    first_ray: wp.vec3,
    across: wp.vec3,
    up: wp.vec3,
):
    colour = wp.vec3(
        float(paint.face[hit.face, 0]),
        float(paint.face[hit.face, 1]),
        float(paint.face[hit.face, 2]),
    )
    if paint.vertex.shape[0] > 0:
        first = triangles.corners[3 * hit.face]
        second = triangles.corners[3 * hit.face + 1]
        third = triangles.corners[3 * hit.face + 2]
        for channel in range(3):
            colour[channel] = (
                colour[channel]
                * (
                    hit.a * float(paint.vertex[first, channel])
                    + hit.b * float(paint.vertex[second, channel])
                    + hit.c * float(paint.vertex[third, channel])
                )
                / 255.0
            )
    texture = int(triangles.texture[hit.face])
    if texture >= 0:
        size = wp.vec2(float(paint.level[texture, 0, 1]), float(paint.level[texture, 0, 2]))
        lod = level_of_detail(triangles, hit, ray, first_ray, across, up, size)
        texel = sampled(paint, texture, texture_place(triangles, hit), lod)
        colour = wp.cw_mul(colour, texel) / 255.0
    return colour


@wp.func
def turned(ray: wp.vec3, cosine: float, sine: float):
    return wp.vec3(cosine * ray[0] + sine * ray[2], ray[1], cosine * ray[2] - sine * ray[0])


@wp.kernel
def render_kernel(
    position: wp.array(dtype=wp.vec3),
    yaw: wp.array(dtype=float),
    pixels: wp.array(dtype=wp.vec3),
    above: float,
    width: int,
    height: int,
    to_the_right: wp.vec3,
    upwards: wp.vec3,
    triangles: Triangles,
    paint: Paint,
    colour: wp.array3d(dtype=wp.uint8),
    depth: wp.array2d(dtype=float),
    semantic: wp.array2d(dtype=wp.int32),
):
    """Images [N, P]; one of width 0 is not wanted."""
    agent, column = wp.tid()
    cosine = wp.cos(yaw[agent])
    sine = wp.sin(yaw[agent])
    ray = turned(pixels[column], cosine, sine)
    hit = first_hit(triangles, position[agent] + wp.vec3(0.0, above, 0.0), ray)
    if hit.face < 0:
        return  # the images start as zeros
    if depth.shape[1] > 0:
        depth[agent, column] = hit.depth
    if semantic.shape[1] > 0:
        semantic[agent, column] = triangles.identity[hit.face]
    if colour.shape[1] > 0:
        across = turned(to_the_right, cosine, sine)
        up = turned(upwards, cosine, sine)
        to_left = float((column % width) & 1)
        to_below = float((height - 1 - column / width) & 1)
        first_ray = ray - to_left * across - to_below * up
        seen = shaded(triangles, paint, hit, ray, first_ray, across, up)
        for channel in range(3):
            colour[agent, column, channel] = wp.uint8(wp.min(seen[channel], 255.0) + 0.5)


@wp.kernel
def identity_kernel(
    position: wp.array(dtype=wp.vec3),
    yaw: wp.array(dtype=float),
    pixels: wp.array(dtype=wp.vec3),
    above: float,
    triangles: Triangles,
    level: wp.array3d(dtype=wp.int32),
    texel_id: wp.array(dtype=wp.int32),
    semantic: wp.array2d(dtype=wp.int32),
):
    """Semantic ids from a mesh of their own, in its triangles or its textures."""
    agent, column = wp.tid()
    ray = turned(pixels[column], wp.cos(yaw[agent]), wp.sin(yaw[agent]))
    hit = first_hit(triangles, position[agent] + wp.vec3(0.0, above, 0.0), ray)
    if hit.face < 0:
        return
    texture = int(triangles.texture[hit.face])
    if texel_id.shape[0] == 0:
        semantic[agent, column] = triangles.identity[hit.face]
    elif texture >= 0:
        place = texture_place(triangles, hit)
        width = level[texture, 0, 1]
        height = level[texture, 0, 2]
        x = wp.clamp(int(wp.floor(place[0] * float(width))), 0, width - 1)
        y = wp.clamp(int(wp.floor(place[1] * float(height))), 0, height - 1)
        semantic[agent, column] = texel_id[level[texture, 0, 0] + y * width + x]
