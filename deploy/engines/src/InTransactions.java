import java.util.Properties;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.serialization.StringSerializer;

/** `ADDRESS TOPIC KEY COUNT`: appends the messages `{"n": 1}` to `{"n": COUNT}`, each in a transaction of its own. */
public class InTransactions {
    public static void main(String[] arguments) {
        var properties = new Properties();
        properties.put("bootstrap.servers", arguments[0]);
        properties.put("transactional.id", "in-transactions");
        var text = new StringSerializer();
        try (var producer = new KafkaProducer<>(properties, text, new StringSerializer())) {
            producer.initTransactions();
            for (int n = 1; n <= Integer.parseInt(arguments[3]); n++) {
                producer.beginTransaction();
                producer.send(new ProducerRecord<>(arguments[1], arguments[2], "{\"n\": " + n + "}"));
                producer.commitTransaction();
            }
        }
    }
}
