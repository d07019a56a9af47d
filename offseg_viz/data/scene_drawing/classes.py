"""The 32 classes of the scenes: label values, names, colours."""

from enum import IntEnum

from offseg_viz.classes import ClassList


class Kind(IntEnum):
    """Label value of every class of the scenes."""

    SKY = 0
    CLOUD = 1
    HILL = 2
    BUILDING = 3
    BRICK = 4
    ROOF = 5
    WINDOW = 6
    DOOR = 7
    ROAD = 8
    LANE_MARKING = 9
    PAVEMENT = 10
    PATH = 11
    WALL = 12
    FENCE = 13
    GRASS = 14
    TREE = 15
    TRUNK = 16
    BUSH = 17
    FLOWER_BED = 18
    WATER = 19
    CAR = 20
    BUS = 21
    BICYCLE = 22
    PERSON = 23
    DOG = 24
    BIRD = 25
    POLE = 26
    LAMP = 27
    TRAFFIC_LIGHT = 28
    SIGN = 29
    CLOCK = 30
    BENCH = 31


COLORS = {
    Kind.SKY: "#8ecbff",
    Kind.CLOUD: "#d3e2f0",
    Kind.HILL: "#5f8795",
    Kind.BUILDING: "#dba878",
    Kind.BRICK: "#a63d2f",
    Kind.ROOF: "#6e2142",
    Kind.WINDOW: "#35d3dd",
    Kind.DOOR: "#7a6410",
    Kind.ROAD: "#4d4d57",
    Kind.LANE_MARKING: "#ffffff",
    Kind.PAVEMENT: "#c4b2bb",
    Kind.PATH: "#e6d7a0",
    Kind.WALL: "#8a8478",
    Kind.FENCE: "#5c3a78",
    Kind.GRASS: "#7cc04b",
    Kind.TREE: "#1f7a3d",
    Kind.TRUNK: "#4a3320",
    Kind.BUSH: "#b6d22e",
    Kind.FLOWER_BED: "#f0327f",
    Kind.WATER: "#1f63bf",
    Kind.CAR: "#1616b8",
    Kind.BUS: "#ffb000",
    Kind.BICYCLE: "#00b39a",
    Kind.PERSON: "#e3242b",
    Kind.DOG: "#ff8060",
    Kind.BIRD: "#16161a",
    Kind.POLE: "#8088ff",
    Kind.LAMP: "#fff06a",
    Kind.TRAFFIC_LIGHT: "#ff38d4",
    Kind.SIGN: "#f25c05",
    Kind.CLOCK: "#9a3cf0",
    Kind.BENCH: "#b98ae6",
}

SCENE_CLASSES = ClassList(
    tuple(kind.name.lower().replace("_", " ") for kind in Kind),
    tuple(COLORS[kind] for kind in Kind),
)
"""Names and colours of the scenes' classes, in label order."""
