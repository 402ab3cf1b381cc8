//! Reads a transform's path. Nothing is guessed: what is not in the grammar is refused, with the
//! name of its part and the rule (NaN, doubled and unknown options above all).

use super::{
    Hold, Hundredths, MIDDLE, QUALITIES, RESULT_EDGE_MAX_PX, SIDES, Step, Transform,
    default_quality,
};
use crate::domain::image::{Area, SOURCE_EDGE_MAX_PX};

/// Longest path that is looked at, without its name; the longest of the helpers has about 150.
const PATH_MAX_BYTES: usize = 512;
/// Longest piece of a path that is shown to who sent it.
const SHOWN_MAX_CHARS: usize = 40;

/// One part of a path that breaks a rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused {
    /// The option's name, such as `w`, or `transform` for the whole.
    pub token: &'static str,
    /// The rule.
    pub problem: Problem,
}

/// A rule of the grammar.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Problem {
    /// The path is not made of steps, options and a name.
    Form,
    /// An option that the step needs is missing.
    Missing,
    /// Not a whole number.
    NotAnInteger,
    /// Not a number of this form.
    NotANumber,
    /// Not one of the values that there are.
    UnknownValue(String),
    /// Too small.
    Below(i32),
    /// Too large.
    Above(i32),
    /// Given more than once, or beside what says the same in another way.
    Doubled,
    /// No option of this step.
    NotHere,
    /// No option that there is.
    Unknown(String),
    /// Known, but not made by this server.
    NotMade,
}

/// Every option by its name.
const NAMES: [&str; 20] = [
    "w", "h", "x", "y", "al", "fp", "lg", "q", "quality", "usm", "bl", "con", "br", "sat", "hue",
    "blur", "wm", "enc", "pstr", "anm",
];
/// The least radius of an unsharp mask that does something.
const UNSHARP_RADIUS_MIN: Hundredths = 10;

/// The options of one step: the value of each name, with what was wrong so far.
struct Options<'a> {
    given: [Option<&'a str>; NAMES.len()],
    refused: Vec<Refused>,
}

pub(super) fn parse(path: &str) -> Result<Transform, Vec<Refused>> {
    let form = || vec![Refused { token: "transform", problem: Problem::Form }];
    let (steps, name) = path.rsplit_once('/').ok_or_else(form)?;
    if name.is_empty() || steps.len() > PATH_MAX_BYTES {
        return Err(form());
    }
    let parts: Vec<&str> = steps.split('/').collect();
    match parts[..] {
        ["crop", options] => {
            let mut options = Options::read(options);
            let area = options.area(RESULT_EDGE_MAX_PX);
            options.finish(Some(area), Step::Fit, (area.width, area.height))
        }
        ["crop", cut, step @ ("fill" | "fit"), options] => {
            let mut cut = Options::read(cut);
            let area = cut.area(SOURCE_EDGE_MAX_PX);
            cut.allow_only(&["x", "y", "w", "h"]);
            let mut options = Options::read(options);
            options.refused.splice(0..0, cut.refused);
            options.sized(Some(area), step == "fill")
        }
        [step @ ("fill" | "fit"), options] => Options::read(options).sized(None, step == "fill"),
        [_, _] | [_, _, _, _] => {
            let known = |step: &str| matches!(step, "crop" | "fill" | "fit");
            let unknown = parts.iter().step_by(2).find(|step| !known(step));
            let problem = unknown.map_or(Problem::Form, |step| Problem::Unknown(shown(step)));
            Err(vec![Refused { token: "transform", problem }])
        }
        _ => Err(form()),
    }
}

fn shown(text: &str) -> String {
    text.chars().take(SHOWN_MAX_CHARS).collect()
}

impl<'a> Options<'a> {
    fn read(text: &'a str) -> Self {
        let mut options = Self { given: [None; NAMES.len()], refused: Vec::new() };
        for option in text.split(',') {
            let (name, value) = option.split_once('_').unwrap_or((option, ""));
            let known = NAMES.iter().position(|known| *known == name);
            // An empty value is written without its underscore.
            match known.filter(|_| !option.ends_with('_')) {
                None => options.refuse("transform", Problem::Unknown(shown(option))),
                Some(at) if options.given[at].is_some() => {
                    options.refuse(NAMES[at], Problem::Doubled);
                }
                Some(at) => options.given[at] = Some(value),
            }
        }
        options
    }

    fn refuse(&mut self, token: &'static str, problem: Problem) {
        self.refused.push(Refused { token, problem });
    }

    fn take(&mut self, name: &'static str) -> Option<&'a str> {
        let at = NAMES.iter().position(|known| *known == name)?;
        self.given[at].take()
    }

    /// Refuses what is left besides these.
    fn allow_only(&mut self, names: &[&str]) {
        for (at, name) in NAMES.iter().enumerate() {
            if self.given[at].take().is_some() && !names.contains(name) {
                self.refuse(name, Problem::NotHere);
            }
        }
    }

    /// A whole number that must be there; 1 stands for one that is refused.
    fn integer(&mut self, name: &'static str, (least, most): (u32, u32)) -> u32 {
        let problem = match self.take(name) {
            None => Problem::Missing,
            Some(text) => match integer(text) {
                None => Problem::NotAnInteger,
                Some(number) if number < least => Problem::Below(least as i32),
                Some(number) if number > most => Problem::Above(most as i32),
                Some(number) => return number,
            },
        };
        self.refuse(name, problem);
        1
    }

    fn area(&mut self, edge_max: u32) -> Area {
        Area {
            x: self.integer("x", (0, SOURCE_EDGE_MAX_PX)),
            y: self.integer("y", (0, SOURCE_EDGE_MAX_PX)),
            width: self.integer("w", (1, edge_max)),
            height: self.integer("h", (1, edge_max)),
        }
    }

    fn sized(mut self, crop: Option<Area>, is_fill: bool) -> Result<Transform, Vec<Refused>> {
        let edge = (1, RESULT_EDGE_MAX_PX);
        let size = (self.integer("w", edge), self.integer("h", edge));
        let step = if is_fill { Step::Fill(self.hold()) } else { Step::Fit };
        self.finish(crop, step, size)
    }

    fn hold(&mut self) -> Hold {
        let hold = match (self.take("al"), self.take("fp")) {
            (None, None) => Ok(MIDDLE),
            (Some(_), Some(_)) => Err(("al", Problem::Doubled)),
            (Some(side), None) => SIDES
                .iter()
                .find(|(letters, ..)| *letters == side)
                .map(|(_, x, y)| Hold::Side(*x, *y))
                .ok_or_else(|| ("al", Problem::UnknownValue(shown(side)))),
            (None, Some(point)) => point
                .split_once('_')
                .and_then(|(x, y)| Some((decimal(x)?, decimal(y)?)))
                .map(|(x, y)| Hold::Point(self.within("fp", x, 0, 1), self.within("fp", y, 0, 1)))
                .ok_or(("fp", Problem::NotANumber)),
        };
        match hold {
            // Around the middle is from the middle.
            Ok(Hold::Point(50, 50)) => MIDDLE,
            Ok(hold) => hold,
            Err((token, problem)) => {
                self.refuse(token, problem);
                MIDDLE
            }
        }
    }

    /// A number that need not be there; 0 stands for none.
    fn filter(&mut self, name: &'static str, least: i32, most: i32) -> Hundredths {
        let Some(text) = self.take(name) else { return 0 };
        let Some(number) = decimal(text) else {
            self.refuse(name, Problem::NotANumber);
            return 0;
        };
        self.within(name, number, least, most)
    }

    fn within(&mut self, name: &'static str, number: i32, least: i32, most: i32) -> Hundredths {
        if number < least * 100 {
            self.refuse(name, Problem::Below(least));
        } else if number > most * 100 {
            self.refuse(name, Problem::Above(most));
        }
        number
    }

    fn unsharp(&mut self) -> Option<[Hundredths; 3]> {
        let text = self.take("usm")?;
        let mut numbers = text.split('_').map(decimal);
        let read = (numbers.next(), numbers.next(), numbers.next(), numbers.next());
        let (Some(Some(radius)), Some(Some(amount)), Some(Some(threshold)), None) = read else {
            self.refuse("usm", Problem::NotANumber);
            return None;
        };
        self.within("usm", radius, 0, 128);
        self.within("usm", amount, 0, 5);
        self.within("usm", threshold, 0, 1);
        // Without radius or amount there is nothing to sharpen.
        (radius > 0 && amount > 0).then_some([radius.max(UNSHARP_RADIUS_MIN), amount, threshold])
    }

    fn one_of(&mut self, name: &'static str, values: &[&str]) -> Option<&'a str> {
        let value = self.take(name)?;
        if !values.contains(&value) {
            self.refuse(name, Problem::UnknownValue(shown(value)));
        }
        Some(value)
    }

    /// Reads what every last step may have.
    fn finish(
        mut self,
        crop: Option<Area>,
        step: Step,
        (width, height): (u32, u32),
    ) -> Result<Transform, Vec<Refused>> {
        let enlarge = self.one_of("lg", &["1", "2"]).is_some();
        let quality = match self.take("q").map(integer) {
            Some(Some(asked)) if QUALITIES.contains(&asked) => asked as u8,
            Some(None) => {
                self.refuse("q", Problem::NotAnInteger);
                0
            }
            // What lies outside of the bounds means the default, as for the helpers.
            Some(Some(_)) | None => default_quality(width, height),
        };
        let unsharp = self.unsharp();
        let contrast = self.filter("con", -100, 100);
        let brightness = self.filter("br", -100, 100);
        let saturation = self.filter("sat", -100, 100);
        let hue = self.filter("hue", -180, 180);
        let blur = self.filter("blur", 0, 100);
        // No AVIF is made: it would cost a hundred times the rest. What asks for it is negotiated.
        let is_negotiated = self.one_of("enc", &["auto", "avif", "pavif"]).is_some();
        // The quality of AVIF; of what is made instead, q tells.
        self.one_of("quality", &["auto"]);
        // What comes out is one still picture and never progressive, which is what these say.
        self.one_of("bl", &[""]);
        self.one_of("pstr", &[""]);
        self.one_of("anm", &["all"]);
        if self.take("wm").is_some() {
            self.refuse("wm", Problem::NotMade);
        }
        self.allow_only(&[]);
        let transform = Transform {
            crop,
            step,
            width,
            height,
            enlarge,
            quality,
            unsharp,
            contrast,
            brightness,
            saturation,
            hue,
            blur,
            is_negotiated,
        };
        if self.refused.is_empty() { Ok(transform) } else { Err(self.refused) }
    }
}

/// Digits and nothing else.
fn integer(text: &str) -> Option<u32> {
    let is_plain = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    // More digits than any limit has are a number all the same.
    is_plain.then(|| text.parse().unwrap_or(u32::MAX))
}

/// A decimal number, rounded to hundredths; at most six digits before the point.
fn decimal(text: &str) -> Option<Hundredths> {
    let (sign, digits) = text.strip_prefix('-').map_or((1, text), |digits| (-1, digits));
    let (whole, part) = digits.split_once('.').unwrap_or((digits, "0"));
    let plain = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if !plain(whole) || !plain(part) || whole.len() > 6 {
        return None;
    }
    let digit = |at: usize| part.as_bytes().get(at).map_or(0, |byte| i32::from(byte - b'0'));
    let rounded = digit(0) * 10 + digit(1) + i32::from(digit(2) >= 5);
    Some(sign * (whole.parse::<i32>().ok()? * 100 + rounded))
}
