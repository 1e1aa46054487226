"""Chinese and Japanese text for the laws of words, real and nasty."""

from __future__ import annotations

from hypothesis import strategies as st

from tests.wordpiece.any_texts import any_texts

CHINESE = [
    "清晨的阳光照进图书馆,学生们已经在安静地阅读。",
    "这台机器每天可以处理三千多份文件,而且很少出错。",
    "我们把训练好的语言模型部署到服务器上,然后用Python调用它。",
    "他昨天在北京买了两本关于古代建筑的书,花了128元。",
]
JAPANESE = [
    "朝の図書館では、学生たちが静かに本を読んでいる。",
    "このプログラムはテキストをトークンに分割して、モデルの学習に使います。",
    "駅前のコーヒーショップでWi-Fiを借りて、レポートを書き終えた。",
    "がんばれば、ゴールまであとわずか3キロメートルだ。",
]
SENTENCES = CHINESE + JAPANESE
NASTY = (
    "中国人々〆〇一㐀𠮷豈﨑⺀のがぎばぱゝゞアガヴーヷｱｶﾞﾞｰ゛゜゙゚・\u30a0、。「」　"
    "\ufe00\ufe0f\U000e0100\u3099\u302a\u200b\u00ad\u200d\ufeff\x00\x85\n \t"
    "aZéß9_-.'한글가ไทย☺️👩\u0301\U0001b000\U00030000㌔㈱"
)
cjk_texts = st.one_of(
    st.lists(
        st.one_of(
            st.text(st.sampled_from(NASTY), max_size=12),
            st.sampled_from(SENTENCES).flatmap(
                lambda text: st.tuples(st.integers(0, len(text)), st.integers(0, 12)).map(
                    lambda cut: text[cut[0] : cut[0] + cut[1]]
                )
            ),
        ),
        max_size=6,
    ).map("".join),
    any_texts,
)
"""Snippets of real sentences, characters that are easily got wrong, and text of every script."""
