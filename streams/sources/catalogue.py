"""What the synthetic shop sells: made-up products with list prices."""

import bisect
import random
from typing import NamedTuple

PRODUCTS_PER_CATEGORY = 40
# List prices are log-normal around 15.00, so that most are small and a few are large.
PRICE_LOG_MEAN, PRICE_LOG_SD = 2.7, 0.7

_CATEGORIES = {
    "kitchen": ("teapot", "bread bin", "cake tin", "mug", "chopping board"),
    "garden": ("planter", "watering can", "lantern", "bird house", "trowel"),
    "living": ("cushion", "throw", "picture frame", "candle", "rug"),
    "bath": ("towel", "soap dish", "bath mat", "robe", "mirror"),
    "toys": ("puzzle", "building set", "doll house", "kite", "card game"),
    "paper": ("notebook", "gift wrap", "calendar", "greeting card", "pencil case"),
    "bags": ("shopper", "lunch bag", "backpack", "wash bag", "purse"),
    "clothing": ("scarf", "slippers", "apron", "raincoat", "jumper"),
}
_STYLES = ("blue", "red", "striped", "vintage", "spotted", "plain", "large", "small")

CATEGORIES = tuple(_CATEGORIES)


class Product(NamedTuple):
    """One article; `noun` is a customer's word for it."""

    product_id: str
    category: str
    name: str
    noun: str
    list_price_minor: int


class Catalogue:
    """All products, by category and by list price."""

    def __init__(self, rng: random.Random) -> None:
        self.by_category: dict[str, list[Product]] = {
            category: [_make(rng, category, nouns, number) for number in range(PRODUCTS_PER_CATEGORY)]
            for category, nouns in _CATEGORIES.items()
        }
        self._by_price = sorted((p for shelf in self.by_category.values() for p in shelf), key=_price)
        self._prices = [_price(product) for product in self._by_price]

    def near(self, price_minor: int, shift: int) -> Product:
        """The product `shift` places from the one whose list price is nearest above `price_minor`."""
        place = bisect.bisect_left(self._prices, price_minor) + shift
        return self._by_price[min(max(place, 0), len(self._by_price) - 1)]


def _make(rng: random.Random, category: str, nouns: tuple[str, ...], number: int) -> Product:
    noun = nouns[number % len(nouns)]
    price_minor = max(50, round(100 * rng.lognormvariate(PRICE_LOG_MEAN, PRICE_LOG_SD)))
    name = f"{rng.choice(_STYLES)} {noun}"
    return Product(f"synthetic-{category}-{number:02d}", category, name, noun, price_minor)


def _price(product: Product) -> int:
    return product.list_price_minor
