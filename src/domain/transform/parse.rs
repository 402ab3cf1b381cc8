//! Parses a transform's path strictly. Everything outside the grammar, such as NaN or a repeated or
//! unknown option, is rejected with the option's name and the rule it breaks.

use dossier_image::{Area, SOURCE_EDGE_MAX_PX};

use super::{
    Anchor, CENTRE, Hundredths, QUALITIES, RESULT_EDGE_MAX_PX, SIDES, Step, Transform,
    default_quality,
};

/// Longest accepted path without its name. The helpers write at most about 150 bytes.
const PATH_MAX_BYTES: usize = 512;
/// Longest part of a path that an error repeats.
const SHOWN_MAX_CHARS: usize = 40;

/// A part of a path that breaks a rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rejection {
    /// The option's name, such as `w`, or `transform` for the whole path.
    pub token: &'static str,
    /// The broken rule.
    pub problem: Problem,
}

/// A broken rule of the grammar.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Problem {
    /// The path does not consist of steps, options and a name.
    Malformed,
    /// An option that the step requires is missing.
    Missing,
    /// The value is not a whole number.
    NotAnInteger,
    /// The value is not a number of the required form.
    NotANumber,
    /// The value is not one of the option's values.
    UnknownValue(String),
    /// The value is below this minimum.
    Below(i32),
    /// The value is above this maximum.
    Above(i32),
    /// The option is repeated, or conflicts with another one of the same meaning.
    Repeated,
    /// The option does not apply to this step.
    NotApplicable,
    /// There is no such step or option.
    Unknown(String),
    /// The option is known, but this server does not support it.
    Unsupported,
}

/// The names of all options.
const NAMES: [&str; 20] = [
    "w", "h", "x", "y", "al", "fp", "lg", "q", "quality", "usm", "bl", "con", "br", "sat", "hue",
    "blur", "wm", "enc", "pstr", "anm",
];
/// The smallest effective radius of an unsharp mask.
const UNSHARP_RADIUS_MIN: Hundredths = 10;

/// The options of one step: the value of each name, and the rules broken so far.
struct Options<'a> {
    values: [Option<&'a str>; NAMES.len()],
    rejections: Vec<Rejection>,
}

pub(super) fn parse(path: &str) -> Result<Transform, Vec<Rejection>> {
    let malformed = || vec![Rejection { token: "transform", problem: Problem::Malformed }];
    let (steps, name) = path.rsplit_once('/').ok_or_else(malformed)?;
    if name.is_empty() || steps.len() > PATH_MAX_BYTES {
        return Err(malformed());
    }
    let parts: Vec<&str> = steps.split('/').collect();
    match parts[..] {
        ["crop", options] => {
            let mut options = Options::parse(options);
            let area = options.area(RESULT_EDGE_MAX_PX);
            options.finish(Some(area), Step::Fit, (area.width, area.height))
        }
        ["crop", crop, step @ ("fill" | "fit"), options] => {
            let mut crop = Options::parse(crop);
            let area = crop.area(SOURCE_EDGE_MAX_PX);
            crop.allow_only(&["x", "y", "w", "h"]);
            let mut options = Options::parse(options);
            options.rejections.splice(0..0, crop.rejections);
            options.sized(Some(area), step == "fill")
        }
        [step @ ("fill" | "fit"), options] => Options::parse(options).sized(None, step == "fill"),
        [_, _] | [_, _, _, _] => {
            let known = |step: &str| matches!(step, "crop" | "fill" | "fit");
            let unknown = parts.iter().step_by(2).find(|step| !known(step));
            let problem =
                unknown.map_or(Problem::Malformed, |step| Problem::Unknown(excerpt(step)));
            Err(vec![Rejection { token: "transform", problem }])
        }
        _ => Err(malformed()),
    }
}

fn excerpt(text: &str) -> String {
    text.chars().take(SHOWN_MAX_CHARS).collect()
}

impl<'a> Options<'a> {
    fn parse(text: &'a str) -> Self {
        let mut options = Self { values: [None; NAMES.len()], rejections: Vec::new() };
        for option in text.split(',') {
            let (name, value) = option.split_once('_').unwrap_or((option, ""));
            let known = NAMES.iter().position(|known| *known == name);
            // An option with an empty value is written without its underscore.
            match known.filter(|_| !option.ends_with('_')) {
                None => options.reject("transform", Problem::Unknown(excerpt(option))),
                Some(at) if options.values[at].is_some() => {
                    options.reject(NAMES[at], Problem::Repeated);
                }
                Some(at) => options.values[at] = Some(value),
            }
        }
        options
    }

    fn reject(&mut self, token: &'static str, problem: Problem) {
        self.rejections.push(Rejection { token, problem });
    }

    fn take(&mut self, name: &'static str) -> Option<&'a str> {
        let at = NAMES.iter().position(|known| *known == name)?;
        self.values[at].take()
    }

    /// Rejects all remaining options except these.
    fn allow_only(&mut self, names: &[&str]) {
        for (at, name) in NAMES.iter().enumerate() {
            if self.values[at].take().is_some() && !names.contains(name) {
                self.reject(name, Problem::NotApplicable);
            }
        }
    }

    /// A required whole number; 1 if it is rejected.
    fn integer(&mut self, name: &'static str, (min, max): (u32, u32)) -> u32 {
        let problem = match self.take(name) {
            None => Problem::Missing,
            Some(text) => match integer(text) {
                None => Problem::NotAnInteger,
                Some(number) if number < min => Problem::Below(min as i32),
                Some(number) if number > max => Problem::Above(max as i32),
                Some(number) => return number,
            },
        };
        self.reject(name, problem);
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

    fn sized(mut self, crop: Option<Area>, is_fill: bool) -> Result<Transform, Vec<Rejection>> {
        let edge = (1, RESULT_EDGE_MAX_PX);
        let size = (self.integer("w", edge), self.integer("h", edge));
        let step = if is_fill { Step::Fill(self.anchor()) } else { Step::Fit };
        self.finish(crop, step, size)
    }

    fn anchor(&mut self) -> Anchor {
        let anchor = match (self.take("al"), self.take("fp")) {
            (None, None) => Ok(CENTRE),
            (Some(_), Some(_)) => Err(("al", Problem::Repeated)),
            (Some(side), None) => SIDES
                .iter()
                .find(|(letters, ..)| *letters == side)
                .map(|(_, x, y)| Anchor::Side(*x, *y))
                .ok_or_else(|| ("al", Problem::UnknownValue(excerpt(side)))),
            (None, Some(point)) => point
                .split_once('_')
                .and_then(|(x, y)| Some((decimal(x)?, decimal(y)?)))
                .map(|(x, y)| Anchor::Point(self.within("fp", x, 0, 1), self.within("fp", y, 0, 1)))
                .ok_or(("fp", Problem::NotANumber)),
        };
        match anchor {
            // A focal point in the centre is the same as centre alignment.
            Ok(Anchor::Point(50, 50)) => CENTRE,
            Ok(anchor) => anchor,
            Err((token, problem)) => {
                self.reject(token, problem);
                CENTRE
            }
        }
    }

    /// An optional number; 0 if it is absent.
    fn filter(&mut self, name: &'static str, min: i32, max: i32) -> Hundredths {
        let Some(text) = self.take(name) else { return 0 };
        let Some(number) = decimal(text) else {
            self.reject(name, Problem::NotANumber);
            return 0;
        };
        self.within(name, number, min, max)
    }

    fn within(&mut self, name: &'static str, number: i32, min: i32, max: i32) -> Hundredths {
        if number < min * 100 {
            self.reject(name, Problem::Below(min));
        } else if number > max * 100 {
            self.reject(name, Problem::Above(max));
        }
        number
    }

    fn unsharp(&mut self) -> Option<[Hundredths; 3]> {
        let text = self.take("usm")?;
        let mut numbers = text.split('_').map(decimal);
        let read = (numbers.next(), numbers.next(), numbers.next(), numbers.next());
        let (Some(Some(radius)), Some(Some(amount)), Some(Some(threshold)), None) = read else {
            self.reject("usm", Problem::NotANumber);
            return None;
        };
        self.within("usm", radius, 0, 128);
        self.within("usm", amount, 0, 5);
        self.within("usm", threshold, 0, 1);
        // A mask without radius or amount has no effect.
        (radius > 0 && amount > 0).then_some([radius.max(UNSHARP_RADIUS_MIN), amount, threshold])
    }

    fn one_of(&mut self, name: &'static str, values: &[&str]) -> Option<&'a str> {
        let value = self.take(name)?;
        if !values.contains(&value) {
            self.reject(name, Problem::UnknownValue(excerpt(value)));
        }
        Some(value)
    }

    /// Parses the options of the last step.
    fn finish(
        mut self,
        crop: Option<Area>,
        step: Step,
        (width, height): (u32, u32),
    ) -> Result<Transform, Vec<Rejection>> {
        let enlarge = self.one_of("lg", &["1", "2"]).is_some();
        let quality = match self.take("q").map(integer) {
            Some(Some(quality)) if QUALITIES.contains(&quality) => quality as u8,
            Some(None) => {
                self.reject("q", Problem::NotAnInteger);
                0
            }
            // An out-of-range quality means the default, as in the helpers.
            Some(Some(_)) | None => default_quality(width, height),
        };
        let unsharp = self.unsharp();
        let contrast = self.filter("con", -100, 100);
        let brightness = self.filter("br", -100, 100);
        let saturation = self.filter("sat", -100, 100);
        let hue = self.filter("hue", -180, 180);
        let blur = self.filter("blur", 0, 100);
        // AVIF is never rendered: encoding costs a hundred times the rest. A request for it is
        // negotiated instead.
        let is_negotiated = self.one_of("enc", &["auto", "avif", "pavif"]).is_some();
        // The quality of AVIF; for the formats rendered instead, `q` applies.
        self.one_of("quality", &["auto"]);
        // These request one still, non-progressive picture, which every result is anyway.
        self.one_of("bl", &[""]);
        self.one_of("pstr", &[""]);
        self.one_of("anm", &["all"]);
        if self.take("wm").is_some() {
            self.reject("wm", Problem::Unsupported);
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
        if self.rejections.is_empty() { Ok(transform) } else { Err(self.rejections) }
    }
}

/// Parses a number of decimal digits only.
fn integer(text: &str) -> Option<u32> {
    let is_plain = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    // An overflowing number is still a number, above any limit.
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
