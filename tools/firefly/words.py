"""The words firefly knows.

Every word below is one token of the tokenizer, so a value is copied in one
step and an instruction costs about one token a word.  The lists are grouped
by what the training tasks do with them; ``COMMON`` only makes ordinary
prompts cheap.  The order of :func:`all_words` fixes the token ids, so words may
be appended to ``EXTRA`` but the lists must never be reordered after training.
"""

# ruff: noqa: SIM905 (long word lists read better as text)
from __future__ import annotations

NAMES = """ann bob carl dina eva finn gina hugo ida jack kate leo mia noah olga paul rosa sam tina
uma victor wendy xena yara zoe adam bella cora dan ella fred grace henry iris john karen lucy mark
nina oscar peter ruth simon tom vera will alice ben clara david emma frank helen ivan jane kevin
lena max nora otto rita sara""".split()
CITIES = """paris london berlin rome madrid oslo vienna prague dublin athens lisbon tokyo cairo delhi
lima quito havana kyiv warsaw sofia helsinki stockholm beijing ottawa bern budapest seoul hanoi
nairobi canberra brussels copenhagen moscow ankara""".split()
COUNTRIES = """france england germany italy spain norway austria czechia ireland greece portugal japan
egypt india peru ecuador cuba ukraine poland bulgaria finland sweden china canada switzerland hungary
korea vietnam kenya australia belgium denmark russia turkey""".split()
CAPITALS = dict(zip(COUNTRIES, CITIES, strict=True))
ANIMALS = """cat dog cow pig horse sheep goat duck hen fox wolf bear lion tiger mouse rat rabbit
deer frog snake owl eagle crow swan whale shark seal otter zebra camel monkey panda donkey
hamster beaver parrot turtle lizard bee ant""".split()
FRUITS = """apple pear plum peach grape lemon lime orange cherry banana mango melon fig kiwi papaya
berry apricot date coconut pineapple raisin quince olive guava""".split()
COLORS = """red blue green yellow black white brown pink purple gray gold silver violet beige teal
crimson""".split()
TOOLS = """hammer saw drill wrench axe knife shovel rake ladder screwdriver pliers chisel file clamp
brush bucket rope nail needle scissors ruler broom mop spade crowbar tongs""".split()
CLOTHES = """shirt coat hat sock shoe boot glove scarf dress skirt belt jacket sweater jeans tie cap
vest apron robe sandal""".split()
VEHICLES = """car bus train truck bike boat ship plane taxi van tram scooter tractor wagon ferry
rocket canoe sled""".split()
FOODS = """bread cheese rice soup pasta egg cake pie butter honey salad meat bean potato carrot onion
tomato pepper cookie noodle ham corn""".split()
BODY = """hand foot head arm leg eye ear nose mouth knee finger tooth neck back shoulder elbow""".split()
FURNITURE = """table chair bed sofa desk shelf lamp stool bench cabinet mirror carpet pillow curtain
drawer cupboard""".split()
DRINKS = """tea coffee milk water juice cocoa cola lemonade soda wine beer cider""".split()
JOBS = """doctor teacher cook driver farmer pilot nurse baker painter singer lawyer writer actor
tailor sailor soldier judge miner plumber dentist engineer clerk barber guard""".split()
PETS = ["cat", "dog", "rabbit", "hamster", "parrot", "turtle", "snake", "mouse", "goat", "owl", "horse", "lizard"]
SPORTS = """tennis football golf chess hockey rugby swimming boxing skiing cricket rowing judo""".split()
INSTRUMENTS = """piano guitar violin drum flute trumpet harp cello banjo organ""".split()
OPPOSITES = [
    tuple(pair.split("/"))
    for pair in """hot/cold big/small up/down left/right fast/slow old/new light/dark open/closed
early/late high/low hard/soft wet/dry full/empty long/short strong/weak loud/quiet happy/sad clean/dirty
near/far thick/thin rich/poor day/night good/bad true/false yes/no in/out on/off front/behind top/bottom
first/last begin/finish buy/sell give/take push/pull win/lose love/hate push/pull wide/narrow deep/shallow
sharp/blunt safe/dangerous cheap/expensive easy/difficult smooth/rough young/aged sweet/bitter brave/afraid
friend/enemy summer/winter north/south east/west always/never many/few more/less before/after accept/refuse
arrive/leave remember/forget laugh/cry sleep/wake smile/frown raise/lower start/stop""".split()
]
POSITIVE = """great wonderful lovely excellent amazing nice perfect brilliant fantastic charming
delightful superb pleasant tasty beautiful fun""".split()
NEGATIVE = """awful terrible horrible boring ugly broken disgusting poor rude nasty dreadful useless
annoying stale painful dull""".split()
NEUTRAL = """average ordinary normal usual plain standard common regular""".split()
ADJECTIVES = """big small old new fast slow tall short heavy light quiet loud young clever lazy brave
gentle hungry thirsty tired wild tame shiny dusty round square""".split()
VERBS = """sees likes wants eats buys sells finds hides carries takes brings follows watches hears
loves hates keeps holds drops pushes pulls draws paints washes cleans opens closes breaks fixes
cuts moves lifts counts reads writes sings plays drinks owns drives visits meets helps calls teaches
knows needs makes shows sends asks tells""".split()
PAST = """saw liked wanted ate bought sold found hid carried took brought followed watched heard loved
kept held dropped pushed opened closed broke fixed moved visited met helped called lost gave won
went came made said""".split()
PLACES = """house garden kitchen school park street shop market office station bridge river forest
field beach hill farm church museum library hospital hotel bank theater castle tower cellar attic
garage barn harbor airport factory""".split()
TOPIC_WORDS = {
    "sports": "team goal match coach player league score stadium race medal".split(),
    "food": "recipe oven dinner chef lunch sauce flavor menu dish breakfast".split(),
    "science": "planet atom experiment laboratory theory energy star cell gravity telescope".split(),
    "music": "song concert band melody rhythm chorus album tune orchestra dance".split(),
    "travel": "flight ticket passport luggage tourist map journey trip suitcase cruise".split(),
    "money": "price coin loan tax salary wallet budget profit debt cash".split(),
    "weather": "rain snow wind storm cloud thunder fog frost sunshine heat".split(),
    "health": "medicine fever pill clinic cough patient vaccine disease wound diet".split(),
}
PROBLEMS = {
    "billing": "invoice payment refund charge receipt bill fee discount".split(),
    "hardware": "printer keyboard screen laptop monitor cable battery camera".split(),
    "network": "wifi router internet website server modem connection signal".split(),
    "account": "password login username profile email code badge pin".split(),
    "delivery": "parcel package box courier shipment letter crate pallet".split(),
    "facilities": "door window heater elevator toilet light roof sink".split(),
}
LABELS = """alpha beta gamma delta sigma omega zeta theta kappa lambda foo bar baz qux spam
group class type kind level zone unit part side case mode plus minus key lock oak elm pine ash
birch maple cedar willow copper iron tin zinc lead nickel steel chrome monday tuesday wednesday
thursday friday saturday sunday january february march april may june july august september october
november december spring autumn circle triangle star line cube cone sphere ring dot cross spade club
heart diamond king queen knight bishop rook pawn lily tulip daisy poppy mint sage basil thyme""".split()
NUMBER_WORDS = """zero one two three four five six seven eight nine ten eleven twelve twenty thirty
hundred thousand half double single pair dozen third fourth fifth sixth second""".split()
FIELDS = """text answer input output words word list items item question context fact facts sentence
label result query value values name names age city country job pet drink color record row rows
table column number numbers first second total sum difference count category topic sentiment mood
reasoning thought keep done next rest title summary message reply kind team urgency priority reason
data content body source target document documents passage passages request response note notes
order person place product review score rating rank prompt task options option choice choices
condition rule check valid steps step plan draft final state start end left right pairs mapping
example examples entry entries key hint history command goal group tag tags status decision
verdict claim evidence subject object action phrase letter letters digits story problem solution
user customer ticket tickets size amount price language original translation completed
language sport instrument hobby food team_name""".replace("team_name", "").split()
INSTRUCT = """given the fields produce field return give write say tell copy repeat find pick choose
select name print show get read look use apply do make complete perform solve follow answer respond
reply with only a an of in from to for by as at on and or not is are was be it its that this these
those which who whom whose what when where why how each every all any some one both same other another
into out over under between about than then so if else because but nor your you we they he she his
her their them our me my i mine yours please just exactly must should would could can cannot may might
will shall do does did done has have had been being am were there here now also very too only
order reverse reversed reverses backwards backward sort sorted alphabetical alphabetically alphabet
swap exchange drop remove delete skip ignore omit without leave keep except uppercase lowercase
capital capitals capitalized letters case upper lower count how many long length number biggest smallest
largest greatest least maximum minimum bigger smaller larger greater fewer add adding added subtract
plus minus sum difference product times equals equal compute calculate following preceding previous
after before comes come starting beginning ending position initial middle opposite antonym meaning
means contrary capital positive negative neutral feeling tone attitude opinion classify classification
categorize decide determine identify detect assign map mapped mapping translate convert change
replace rewrite turn transform according based using shown show seen see look corresponding correct
right wrong best proper suitable appropriate given provided listed belongs belong related
relation live lives lived work works worked like likes own owns drink drinks eat eats
born located lies capital speak speaks play plays friend brother sister mother father boss
neighbor teacher student manager owner son daughter cousin uncle aunt husband wife
fruit animal color tool vehicle drink fruits animals colors tools clothes vehicles drinks foods furniture
body things thing adjective noun verb describes described describing mentioned mention mentions
person people exist exists inside outside word words sentence sentences text texts value values
true false yes no none unknown bool boolean int float str list literal hint step steps think
carefully explain reasoning reason therefore thus hence final quick short brief long clear single
pattern example examples instruction instructions context based uses used need needed handle handles
department urgent normal low medium high critical soon today tomorrow yesterday later again already
still never always often sometimes once twice broken missing lost late slow fails failed failing works
working stopped crashed stuck wrong damaged empty full delayed error issue issues problems trouble
help hello hi dear thanks thank regards sorry team angry calm polite upset complaint
question order praise request cancel refund return exchange wants asks asked asking said says
child adult senior teenager cheap expensive small medium large expensive old young most least common
frequent total average times row rows table meet meets meet condition satisfies satisfy match matches matching
whether holds more less older younger above below exceeds exactly equal different
apples pens books coins cards balls marbles stamps eggs cookies buys sells finds loses gets gives
eats breaks left has had altogether now""".split()
COMMON = """able across act actually ago agree air allow almost alone along although among anger
anything area around arrive article attempt away baby bad bag balance ball base basic become began
begin behind believe below best better beyond bird birth blood board boy brain branch bring build
building built business busy button call care careful carry catch cause center century certain
chance character cheer children church circle clear climb clock close cloth coast collect college
company compare complex computer concern consider contain contains continue control cool corner cost
cover create crowd cry culture current cycle daily damage danger deal death decision degree depend
design despite detail develop device difference direct direction discover discuss distance divide
door doubt dream drive drop during early earth edge education effect effort either electric enough
enter entire equation especially evening event everything exact example except excite expect
experience explain express extra face fact fair fall family famous fear feel field fight figure
fill film find fine fire fish fit flat floor flow flower fly force foreign forest form format former
forward found free fresh friendly fruit future game garden gas general girl glass grass ground grow
guess guide habit hair hall hand happen health hear heart heavy height history hole home hope hour
human hundred idea image imagine important improve include includes increase indeed industry
information inform instead interest island join joke jump kept kid kill kindly kitchen knowledge
lady lake land language laugh law lay lead learn lesson letter life limit lip listen little local
lunch machine magic mail main major man market mass master matter meal measure meat meeting member
memory mention metal method mile mind minute model modern moment money month moon morning mountain
move movie music nation nature necessary network news nothing notice object ocean offer office oil
operation opinion opportunity original outcome own page pain paint paper parent particular party
pass past path pay peace period phone photo phrase picture piece plant plate point police policy
politics position possible post potential power practice prepare present president press pretty
prevent probably process produces production program project promise protect prove provide public
purpose put quality quarter quickly quite race radio range rate rather reach real really receive
recent record reduce region remain remote report require research rest river road rock role room
root rule run salt sand save scene school science sea search season seat section seem sense separate
series serious serve service set several shape share she shine shoot shop shoulder shout sight sign
similar simple since sing sit situation size skill skin sky small smell snow society soft soil
solid something sort sound space speak special speed spell spend spirit spoke spread square stage stand
standard state stay steam stone store story straight strange stream student study subject success
such sudden suggest sugar suit sun supply support sure surface surprise sweet swim system tail talk
taste tax technology teach term test themselves theory thick threw through throw time tiny together
tone tonight touch toward town trade tree trouble trust truth try type understand until usually
valley various version view village voice vote wait walk wall want war warm wash watch wave way wear
week weight welcome well west wheel while whole wild wind wing wish woman women wonder wood
world worry worth write yard year youth assistant helpful output outputs inputs specific accurate
concise relevant task tasks few shot dataset detailed useful possible guidelines format formatted
ensure avoid provide content analysis analyze extract extracted summarize generate describe""".split()
EXTRA: list[str] = """Calculate Change Check Delete Does Exchange Explain Extract Order Reduce Reply
Rewrite Skip Subtract Transform book much send swapped""".split()
"""Words added after the first release of the tokenizer; append only."""

CATEGORIES: dict[str, list[str]] = {
    "animal": ANIMALS,
    "fruit": FRUITS,
    "color": COLORS,
    "tool": TOOLS,
    "clothes": CLOTHES,
    "vehicle": VEHICLES,
    "food": FOODS,
    "body": BODY,
    "furniture": FURNITURE,
    "drink": DRINKS,
    "job": JOBS,
    "sport": SPORTS,
    "instrument": INSTRUMENTS,
}


def capitalisable() -> list[str]:
    """The short concrete words that the upper-case operation is taught on."""
    groups = (ANIMALS, FRUITS, COLORS, TOOLS)
    return [word for group in groups for word in group]


def all_words() -> list[str]:
    """Every known word once, in the order that fixes the token ids."""
    groups: list[list[str]] = [
        NAMES, CITIES, COUNTRIES, ANIMALS, FRUITS, COLORS, TOOLS, CLOTHES, VEHICLES, FOODS,
        BODY, FURNITURE, DRINKS, JOBS, PETS, SPORTS, INSTRUMENTS,
        [word for pair in OPPOSITES for word in pair],
        POSITIVE, NEGATIVE, NEUTRAL, ADJECTIVES, VERBS, PAST, PLACES,
        [word for group in TOPIC_WORDS.values() for word in group], list(TOPIC_WORDS),
        [word for group in PROBLEMS.values() for word in group], list(PROBLEMS),
        LABELS, NUMBER_WORDS, FIELDS, INSTRUCT, COMMON, list(CATEGORIES),
        [word.upper() for word in capitalisable()],
        ["True", "False", "Yes", "No", "The", "Given", "Return", "Say", "Write", "Give", "Which",
         "What", "Who", "How", "Answer", "Pick", "Find", "Use", "Copy", "List", "Sort", "Add",
         "Name", "Classify", "Choose", "Complete", "Do", "Is", "Where", "Read", "Tell", "Decide",
         "Count", "Produce", "Reverse", "Drop", "Remove", "Keep", "Think", "If", "For", "In", "It",
         "Repeat", "Take", "Select", "Get", "Label", "Swap", "Not", "Look", "Solve", "Put", "Output",
         "You", "Your", "Please", "Translate", "Make", "Compute", "Follow", "Map", "Print", "Perform",
         "Respond", "Based", "Determine", "I", "A", "B", "C", "D", "E", "F", "None", "Identify"],
        list("bcdefghjklmnopqrstuvwxyz"), list("GHJKLMNOPQRSTUVWXYZ"),
        EXTRA,
    ]  # fmt: skip
    return list(dict.fromkeys(word for group in groups for word in group))
