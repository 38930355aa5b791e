"""What the customers of the synthetic shop write: made-up sentences of a given sentiment."""

import random

# By rating, 1 to 5.
_OPENERS = {
    1: (
        "Terrible, I am really disappointed.",
        "Awful. The worst thing I have bought in years.",
        "I hate it and I want my money back.",
        "A complete waste of money.",
        "Never again.",
    ),
    2: (
        "Not good, sadly.",
        "I expected much better.",
        "Rather poor for the price.",
        "It was a letdown.",
        "Unhappy with this one.",
    ),
    3: (
        "It is okay, nothing special.",
        "Average, I would say.",
        "Does the job, more or less.",
        "Some things are good, some are not.",
        "Neither pleased nor upset.",
    ),
    4: (
        "Quite happy with it.",
        "Good quality overall.",
        "A nice purchase.",
        "I like it a lot.",
        "Pleased with this order.",
    ),
    5: (
        "Absolutely love it!",
        "Wonderful, I could not be happier.",
        "Perfect in every way.",
        "The best I have ever had.",
        "Fantastic, it made my day.",
    ),
}
_ASPECTS_BAD = (
    "The {noun} broke after two days.",
    "The {noun} arrived damaged and nobody cared.",
    "Delivery took three weeks.",
    "The colour of the {noun} looks nothing like the picture.",
    "The material of the {noun} feels cheap.",
    "The parcel was late and the box was torn.",
    "Support never answered my mail.",
)
_ASPECTS_FAIR = (
    "The {noun} is a bit smaller than I thought.",
    "Delivery took about a week.",
    "The {noun} looks fine but the packaging was poor.",
    "The price of the {noun} is fair.",
    "The {noun} is useful, though the colour is dull.",
)
_ASPECTS_GOOD = (
    "The {noun} is beautifully made.",
    "The {noun} arrived the very next day.",
    "The colours of the {noun} are lovely.",
    "Everyone at home admires the {noun}.",
    "Great value for such a {noun}.",
    "The {noun} was wrapped with so much care.",
    "The {noun} feels solid and well finished.",
)
_CLOSERS = {
    1: ("I will not order here again.", "Avoid this shop.", "I am done with this shop."),
    2: ("I will think twice before I order again.", "Would not recommend it.", "I may look elsewhere."),
    3: ("Maybe I will try another one.", "We will see how long it lasts.", "I am still undecided."),
    4: ("I would buy it again.", "I will be back.", "Recommended."),
    5: ("I will certainly order more!", "I recommend it to all my friends.", "My favourite shop."),
}
_COMPLAINTS = (
    "My {noun} has not arrived and I am very upset.",
    "The {noun} came broken, this is unacceptable.",
    "I was charged twice for the {noun} and I am angry.",
    "I have asked three times about my {noun} and got no answer.",
    "The wrong {noun} was delivered again.",
)
_DEMANDS = (
    "Please refund me at once.",
    "I expect an answer today.",
    "If this goes on I will shop elsewhere.",
    "Cancel the order, please.",
)
_QUESTIONS = (
    "Could you tell me when the {noun} is back in stock?",
    "Is the {noun} dishwasher safe?",
    "Can I change the delivery address for my {noun}?",
    "How do I add a gift note for the {noun}?",
    "Do you also have the {noun} in green?",
)
_THANKS = ("Thank you very much!", "Thanks for the kind help.", "Your shop is lovely.", "Best wishes.")


def review_text(rng: random.Random, rating: int, noun: str) -> str:
    """A review of a `noun` that reads like `rating` (1..5).

    >>> review_text(random.Random(1), 5, "teapot")
    'Wonderful, I could not be happier. Great value for such a teapot. I will certainly order more!'
    """
    aspects = _ASPECTS_BAD if rating <= 2 else _ASPECTS_FAIR if rating == 3 else _ASPECTS_GOOD
    return f"{rng.choice(_OPENERS[rating])} {rng.choice(aspects).format(noun=noun)} {rng.choice(_CLOSERS[rating])}"


def support_text(rng: random.Random, angry: bool, noun: str) -> str:
    """A message to the shop about a `noun`: a complaint, or a friendly question."""
    first, second = (_COMPLAINTS, _DEMANDS) if angry else (_QUESTIONS, _THANKS)
    return f"{rng.choice(first).format(noun=noun)} {rng.choice(second)}"
