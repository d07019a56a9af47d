"""Slow replicas in plain loops, written from arXiv 2508.08811 alone: nothing of the package is imported here.

Lists of lists of floats throughout: E is [P][C], W is [K][C], results as named. Positions run row by row.
"""

import math


def flatten(feature):
    """(y, x, channel) array to E, a list of P rows."""
    return [[float(value) for value in pixel] for row in feature for pixel in row]


def rows(matrix):
    """A matrix as a list of rows of floats."""
    return [[float(value) for value in row] for row in matrix]


def stage_pair(record, stage):
    """E (P, C) and W (K, C) of a stage of a record, as lists."""
    feature, embedding = flatten(record["feature"].values), rows(record["class_embedding"].values)
    if stage == "aligned" and "feature_offset" in record:
        feature = add(feature, flatten(record["feature_offset"].values))
        embedding = add(embedding, rows(record["class_offset"].values))
    return feature, embedding


def inner(a, b):
    total = 0.0
    for left, right in zip(a, b, strict=True):
        total += left * right
    return total


def cosine(a, b):
    length = math.sqrt(inner(a, a)) * math.sqrt(inner(b, b))
    return inner(a, b) / length if length else math.nan


def add(a, b):
    return [[left + right for left, right in zip(p, q, strict=True)] for p, q in zip(a, b, strict=True)]


def scores(feature, class_embedding):
    """Eqs. (1), (4) and (13): [K][P]."""
    return [[inner(embedding, pixel) for pixel in feature] for embedding in class_embedding]


def softmax(values):
    powers = [math.exp(value - max(values)) for value in values]
    return [power / sum(powers) for power in powers]


def class_attention(feature, class_embedding):
    """Eq. (5): [K][P], every row sums to one."""
    return [softmax(row) for row in scores(feature, class_embedding)]


def position_attention(feature, class_embedding):
    """Eq. (9): [P][K], every row sums to one."""
    table = scores(feature, class_embedding)
    return [softmax([row[p] for row in table]) for p in range(len(feature))]


def layer_norm_over_classes(table, gain, bias, eps):
    """The released code's LayerNorm of scores [K][P], pixel by pixel."""
    count = len(table)
    result = [[0.0] * len(table[0]) for _ in table]
    for p in range(len(table[0])):
        column = [table[k][p] for k in range(count)]
        mean = sum(column) / count
        variance = sum((value - mean) ** 2 for value in column) / count
        for k in range(count):
            result[k][p] = (column[k] - mean) / math.sqrt(variance + eps) * float(gain[k]) + float(bias[k])
    return result


def arg_max(table):
    """[K][P] to [P], the first of equal ones."""
    result = []
    for p in range(len(table[0])):
        best = 0
        for k in range(1, len(table)):
            if table[k][p] > table[best][p]:
                best = k
        result.append(best)
    return result


def lengths(vectors):
    return [math.sqrt(inner(vector, vector)) for vector in vectors]


def one_hot(label, count):
    """M of eq. (2): [K][P] for a flat label without ignored pixels."""
    return [[1.0 if value == k else 0.0 for value in label] for k in range(count)]


def confusion(label, prediction, count):
    """Counts [label][prediction] of flat lists; 255 is ignored."""
    table = [[0] * count for _ in range(count)]
    for truth, found in zip(label, prediction, strict=True):
        if truth != 255:
            table[truth][found] += 1
    return table


def iou(table, k):
    """Intersection over union of class k; NaN where it is neither labelled nor predicted."""
    union = sum(table[k]) + sum(row[k] for row in table) - table[k][k]
    return table[k][k] / union if union else math.nan


def trustworthiness(points, placed, neighbors):
    """Venna and Kaski (2001): one minus the penalty of neighbours in the plane that are none in the feature space."""
    count, penalty = len(points), 0
    for i in range(count):
        others = [j for j in range(count) if j != i]
        by_feature = sorted(others, key=lambda j: math.dist(points[i], points[j]))
        by_place = sorted(others, key=lambda j: math.dist(placed[i], placed[j]))
        for j in by_place[:neighbors]:
            penalty += max(0, by_feature.index(j) + 1 - neighbors)
    return 1 - 2 * penalty / (count * neighbors * (2 * count - 3 * neighbors - 1))
